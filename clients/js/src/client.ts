// The client: what comes from the wire goes to the app in one line, once, and is recorded when the app is done with it.
//
// It runs in Node.js too, for load and for services: `import { Client } from "…/clients/js/dist/index.js"` (after
// `make page`), `new Client({ url, key, storage }).connect()`, where `storage` is any object with getItem, setItem and
// removeItem. A "reload" is `client.close()`, or nothing at all, and a new Client on the same storage.
import { io } from "socket.io-client";
import { Acks } from "./acks.js";
import { Emitter, type Listener } from "./emitter.js";
import { Line } from "./line.js";
import { Link, type Dial } from "./link.js";
import { Memory } from "./memory.js";
import { CloudpushError, type Events, type Gap, type Joined, type Options, type Place, type Push } from "./types.js";
import type { Ready, Status, Store } from "./types.js";

/** A push, and how to tell the node that it is done with, where the node wants to be told. */
interface Arrival {
  push: Push;
  answer: (() => void) | undefined;
}

const WAITING = 1_000;
const ACK_MS = 50;

export class Client {
  readonly #emitter = new Emitter();
  readonly #memory: Memory;
  readonly #acks: Acks;
  readonly #line: Line<Arrival | (() => void)>;
  readonly #link: Link;
  readonly #flush = () => void this.#acks.flush();
  #rooms: Set<string>;
  #accepts: readonly number[] | null;
  #paused = false;

  /** Does not connect yet. *dial* makes sockets; tests give their own. */
  constructor(
    readonly options: Options,
    dial: Dial = io,
  ) {
    this.#rooms = new Set(options.rooms);
    this.#accepts = options.accepts ?? null;
    const { namespace = "cloudpush", key = "", mid = "" } = options;
    const name = `${namespace}:${JSON.stringify([key, String(mid)])}`;
    this.#memory = new Memory(this.#store(), name, (error) => this.#complain(error));
    this.#acks = new Acks(options.ackMs ?? ACK_MS, (places) => this.#sendAcks(places));
    this.#line = new Line(
      (item) => this.#handle(item),
      (item) => typeof item === "function" || this.#emitter.has("push"),
      () => this.#goOn(),
    );
    this.#link = new Link(options, dial, {
      auth: () => this.#auth(),
      status: (status) => this.#emitter.emit("state", status),
      ready: (ready) => this.#ready(ready),
      push: (push, answer) => this.#push({ push, answer }),
      gap: (gap) => this.#gap(gap),
    });
  }

  /**
   * Calls *listener* at each event; gives the function that ends this. Pushes wait until somebody listens. A listener of
   * `push` may be async: the next message waits for it, and the cursor moves only when it is done.
   */
  on<N extends keyof Events>(name: N, listener: Listener<N>): () => void {
    const off = this.#emitter.on(name, listener);
    if (name === "push") queueMicrotask(() => this.#line.run()); // once the caller has what it needs to end it
    return off;
  }

  get status(): Status {
    return this.#link.status;
  }

  /** The session that is ready now, or null. */
  get session(): Ready | null {
    return this.#link.session;
  }

  /** What carries the session: `websocket`, `polling`, or nothing. */
  get transport(): string {
    return this.#link.transport;
  }

  get rooms(): string[] {
    return [...this.#rooms];
  }

  connect(): this {
    globalThis.addEventListener?.("pagehide", this.#flush);
    this.#link.open();
    return this;
  }

  /** Ends the session. What waits for a handler is dropped: it comes again with the next connect, if it is durable. */
  close(reason = ""): void {
    globalThis.removeEventListener?.("pagehide", this.#flush);
    const acked = this.#acks.flush();
    this.#paused = false;
    this.#line.clear();
    this.#memory.rewind();
    this.#link.close(reason, acked);
  }

  /**
   * Joins a room, and rejoins it at each reconnect until `leave`. Messages go on where this client was in the room, if
   * it was there before; else with the last *history* ones. Rejects with a CloudpushError.
   */
  async join(room: string, { history }: { history?: number } = {}): Promise<Joined> {
    const key = `room:${room}`;
    const { received, done } = this.#memory;
    let before: Place | undefined;
    const ask = (): unknown => {
      before = received.get(key);
      const after = this.#rooms.has(room) ? undefined : done.get(key);
      return after || history ? { room, ...(history && { history }), ...(after && { after }) } : room;
    };
    const joined = (await this.#link.ask("join", ask)) as unknown as Joined;
    this.#rooms = new Set(joined.rooms);
    const { cursor, recovered } = joined;
    // The first messages may overtake the answer; the room is then further on than where it began.
    const overtaken = received.get(key) === before ? undefined : before;
    if (cursor) this.#begin({ [key]: cursor }, recovered === false ? { [key]: false } : {}, () => {}, overtaken);
    return joined;
  }

  /** Leaves a room and forgets where it was in it; gives the rooms that are left. */
  async leave(room: string): Promise<string[]> {
    this.#rooms.delete(room);
    await this.#link.ask("leave", () => room);
    this.#memory.received.delete(`room:${room}`);
    this.#line.add(() => this.#memory.forget(`room:${room}`));
    return this.rooms;
  }

  /** From now on only *ops* are told, also after a reconnect; null: every op. */
  async accept(ops: readonly number[] | null): Promise<void> {
    await this.#link.ask("accept", () => ops);
    this.#accepts = ops;
  }

  #auth(): Record<string, unknown> {
    const { key, mid, platform = "web", token } = this.options;
    // A made-up key stays ours. With a token it is the token that says who we are.
    const known = key || (token === undefined && this.#memory.key);
    const resume = this.#memory.resume(this.#rooms);
    return {
      platform,
      ...(known && { key: known }),
      ...(mid !== undefined && mid !== "" && { mid }),
      ...(this.#rooms.size && { rooms: this.rooms }),
      ...(this.#accepts && { accepts: this.#accepts }),
      ...(Object.keys(resume).length && { resume }),
    };
  }

  #ready(ready: Ready): void {
    const memory = this.#memory;
    if (memory.key && memory.key !== ready.key) memory.received.clear();
    this.#begin(ready.cursors ?? {}, ready.recovered ?? {}, () => {
      if (memory.key && memory.key !== ready.key) memory.clear();
      memory.key = ready.key;
      memory.save();
      this.#emitter.emit("ready", ready);
    });
    void this.#acks.flush();
  }

  /** Takes over the places of keys that have none here or whose messages were lost, when their turn comes. */
  #begin(places: Record<string, Place>, recovered: Record<string, boolean>, first: () => void, overtaken?: Place): void {
    const { received } = this.#memory;
    const begun: [string, Place][] = [];
    const gaps: Gap[] = [];
    for (const [key, place] of Object.entries(places)) {
      const known = overtaken ?? received.get(key);
      if (known && recovered[key] !== false) continue;
      if (!overtaken) {
        this.#memory.reach(key, place);
        begun.push([key, place]);
      }
      const lost = known && (known.epoch !== place.epoch || known.offset > place.offset);
      if (recovered[key] === false) gaps.push({ key, reason: lost ? "epoch" : "trimmed", ...place });
    }
    this.#line.add(() => {
      first();
      for (const [key, place] of begun) this.#memory.begin(key, place);
      for (const gap of gaps) this.#emitter.emit("gap", gap);
    });
  }

  #gap(gap: Gap): void {
    this.#memory.reach(gap.key, gap);
    this.#line.add(() => {
      this.#memory.begin(gap.key, gap);
      this.#emitter.emit("gap", gap);
    });
  }

  #push(arrival: Arrival): void {
    const { waiting = WAITING } = this.options;
    if (this.#line.length >= waiting) {
      this.#paused = true;
      this.#link.pause(`${waiting} messages wait for their handler: connects again when they are done`);
    } else if (this.#memory.take(arrival.push)) this.#line.add(arrival);
  }

  #goOn(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#link.go();
  }

  #handle(item: Arrival | (() => void)): Promise<void> | void {
    if (typeof item === "function") return item();
    const { push, answer } = item;
    const { key, push_id: id, epoch, offset } = push;
    const durable = epoch !== undefined && offset !== undefined;
    const finish = (): void => {
      if (!durable) return answer?.();
      this.#memory.finish(id, key, { epoch, offset });
      this.#acks.add(key, { epoch, offset });
    };
    if (durable && this.#memory.has(id)) return finish();
    const open = this.#emitter.emit("push", push);
    if (!open.length) return finish();
    return Promise.all(open).then(finish);
  }

  /** An offset means what it meant only while the wire is in its epoch. */
  async #sendAcks(places: ReadonlyMap<string, Place>): Promise<boolean> {
    const { socket, deadlineMs } = this.#link;
    if (!socket) return false;
    const now = [...places].filter(([key, { epoch }]) => this.#memory.received.get(key)?.epoch === epoch);
    if (!now.length) return true;
    const offsets = Object.fromEntries(now.map(([key, { offset }]) => [key, offset]));
    const answer = await socket.timeout(deadlineMs).emitWithAck("ack", offsets).catch(() => null);
    if (answer?.error) this.#complain(answer.error, answer.error.code);
    return answer !== null;
  }

  #store(): Store | null {
    try {
      // A worker has no sessionStorage, and Node.js one that is not meant.
      return this.options.storage !== undefined ? this.options.storage : typeof document === "object" ? sessionStorage : null;
    } catch (error) {
      this.#complain(error); // a browser that forbids it: then memory only
      return null;
    }
  }

  /** Later, so that who made the client has had the time to listen. */
  #complain(error: unknown, code = "storage"): void {
    const { message = String(error) } = error as Error;
    queueMicrotask(() => this.#emitter.emit("error", new CloudpushError(code, message, error)));
  }
}

/** Makes a client and connects it. */
export function connect(options: Options, dial?: Dial): Client {
  return new Client(options, dial).connect();
}
