// A cloud node by its protocol, scripted: a real Socket.IO server whose inboxes and misdeeds the test decides.
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Server, type Socket } from "socket.io";
import type { Place, Store } from "../src/index.js";

export interface Kept extends Place {
  push_id: string;
  msg: unknown;
}

/** A key's stored messages; several nodes may share them. */
export class Box {
  epoch = "e1";
  last = 0;
  trimmed = 0;
  messages: Kept[] = [];

  append(msg: unknown, pushId = `p-${Math.random()}`): Kept {
    this.last += 1;
    const kept = { epoch: this.epoch, offset: this.last, push_id: pushId, msg };
    this.messages.push(kept);
    return kept;
  }

  /** The store forgets the last *count* and begins another epoch: offsets are given a second time. */
  lose(count: number, epoch: string): void {
    this.messages.splice(this.messages.length - count);
    this.last -= count;
    this.epoch = epoch;
  }

  trim(count: number): void {
    this.trimmed = this.messages.splice(0, count).at(-1)?.offset ?? this.trimmed;
  }

  place(offset: number): Place {
    return { epoch: this.messages.find((kept) => kept.offset === offset)?.epoch ?? this.epoch, offset };
  }

  begin(cursor: Place | undefined, fromStart: boolean): { offset: number; recovered?: boolean } {
    if (!cursor) return { offset: fromStart ? this.trimmed : this.last };
    const known = cursor.epoch === "" || cursor.epoch === this.epoch || this.messages.some((kept) => kept.epoch === cursor.epoch);
    if (!known) return { offset: this.trimmed, recovered: false };
    const whole = cursor.offset >= this.trimmed && cursor.offset <= this.last;
    return { offset: Math.max(this.trimmed, Math.min(cursor.offset, this.last)), recovered: whole };
  }
}

export type Boxes = Map<string, Box>;
type Auth = Record<string, unknown> & { key?: string; mid?: string; rooms?: string[]; resume?: Record<string, Place> };

export class ScriptedNode {
  readonly auths: Auth[] = [];
  readonly acks: Record<string, number>[] = [];
  readonly asked: [string, unknown][] = [];
  /** The code to refuse with. */
  refuse = "";
  mute = false;
  /** How often each durable message is written. */
  copies = 1;
  answersAcks = true;
  #made = 0;

  private constructor(
    readonly http: HttpServer,
    readonly io: Server,
    readonly boxes: Boxes,
    readonly name: string,
  ) {
    io.use((socket, next) => {
      this.auths.push(socket.handshake.auth);
      const data = { code: this.refuse };
      next(this.refuse ? Object.assign(new Error("not now"), { data }) : undefined);
    });
    io.on("connection", (socket) => this.#connected(socket));
  }

  static async start(boxes: Boxes = new Map(), name = "n1"): Promise<ScriptedNode> {
    const http = createServer();
    const io = new Server(http);
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    return new ScriptedNode(http, io, boxes, name);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  box(key: string): Box {
    if (!this.boxes.has(key)) this.boxes.set(key, new Box());
    return this.boxes.get(key)!;
  }

  append(key: string, msg: unknown, pushId?: string): Kept {
    const kept = this.box(key).append(msg, pushId);
    this.emit(key, kept);
    return kept;
  }

  emit(key: string, kept: Kept): void {
    for (let copy = 0; copy < this.copies; copy += 1) this.io.to(key).emit("push", { op: 9, key, ...kept });
  }

  ephemeral(key: string, msg: unknown): void {
    this.io.to(key).emit("push", { op: 9, key, push_id: `x-${Math.random()}`, msg });
  }

  /** Closes every connection as a network would. */
  cut(): void {
    for (const socket of this.io.sockets.sockets.values()) socket.conn.close();
  }

  /** Ends every session for good. */
  kick(): void {
    this.io.disconnectSockets(true);
  }

  async stop(): Promise<void> {
    await this.io.close();
  }

  #connected(socket: Socket): void {
    if (this.mute) return;
    const { rooms = [], mid, resume = {}, ...auth } = socket.handshake.auth as Auth;
    const key = auth.key ?? `made-${(this.#made += 1)}`;
    const keys = [key, ...(mid ? [`mid:${mid}`] : []), ...rooms.map((room) => `room:${room}`), "all"];
    const recovered: Record<string, boolean> = {};
    const cursors: Record<string, Place> = {};
    const after: [string, number][] = [];
    for (const each of keys) {
      const box = this.boxes.get(each);
      const begin = (box ?? new Box()).begin(resume[each], each === key || each.startsWith("mid:"));
      cursors[each] = box?.last ? box.place(begin.offset) : { epoch: "", offset: 0 };
      if (begin.recovered !== undefined) recovered[each] = begin.recovered;
      after.push([each, begin.offset]);
    }
    socket.emit("ready", { key, session: socket.id, node: this.name, recovered, cursors });
    for (const [each, offset] of after) this.#follow(socket, each, offset);
    this.#listen(socket);
  }

  #follow(socket: Socket, key: string, offset: number): void {
    for (const kept of this.boxes.get(key)?.messages ?? []) {
      if (kept.offset > offset) socket.emit("push", { op: 9, key, ...kept });
    }
    void socket.join(key);
  }

  #listen(socket: Socket): void {
    type Answer = (answer: unknown) => void;
    const rooms = new Set<string>(socket.handshake.auth["rooms"] ?? []);
    socket.on("join", (asked: string | { room: string; history?: number; after?: Place }, answer: Answer) => {
      this.asked.push(["join", asked]);
      const { room, history = 0, after } = typeof asked === "string" ? { room: asked } : asked;
      if (room === "no") return answer({ error: { code: "forbidden_room", message: "not you" } });
      const box = this.box(`room:${room}`);
      const begin = after ? box.begin(after, false) : { offset: Math.max(box.trimmed, box.last - history) };
      rooms.add(room);
      answer({ rooms: [...rooms], cursor: box.place(begin.offset), ...("recovered" in begin && { recovered: begin.recovered }) });
      this.#follow(socket, `room:${room}`, begin.offset);
    });
    socket.on("leave", (room: string, answer: Answer) => {
      rooms.delete(room);
      void socket.leave(`room:${room}`);
      answer({ rooms: [...rooms] });
    });
    socket.on("accept", (ops: unknown, answer: Answer) => answer({ ops }));
    socket.on("ack", (offsets: Record<string, number>, answer: Answer) => {
      this.acks.push(offsets);
      if (this.answersAcks) answer({ acked: offsets });
    });
  }
}

/** A storage for tests: the page's, that outlives the client. */
export class Shelf implements Store {
  readonly items = new Map<string, string>();
  getItem(name: string): string | null {
    return this.items.get(name) ?? null;
  }
  setItem(name: string, value: string): void {
    this.items.set(name, value);
  }
  removeItem(name: string): void {
    this.items.delete(name);
  }
}
