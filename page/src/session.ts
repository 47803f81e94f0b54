// One Socket.IO session with a cloud node: its states, its rooms, its pushes. Knows no document.
// Refuses to try for ever: a node that cannot be reached, or never says `ready`, is given up, and the reason is told.
import { io, type Socket } from "socket.io-client";
import { type Backoff } from "./api.js";

export type State = "disconnected" | "connecting" | "connected" | "reconnecting";

export interface Status {
  state: State;
  /** Why the state is not `connected`, for people; empty when there is nothing to say. */
  reason: string;
  transport: string;
  node: string;
  session: string;
  key: string;
}

export interface Identity {
  key: string;
  mid: string;
  rooms: string[];
  /** null: every op. */
  accepts: number[] | null;
  token: string;
}

export interface Push {
  op: unknown;
  msg: unknown;
  key: string;
  pushId: string;
}

/** Where to connect; asked again while a node stays away, so that "best" can name another. */
export type Where = () => Promise<{ url: string; backoff: Backoff | null }>;

export interface Listener {
  status(status: Status): void;
  push(push: Push, at: number): void;
  rooms(rooms: string[]): void;
}

type Json = Record<string, unknown>;
const ANSWER_DEADLINE_MS = 5_000;
const READY_DEADLINE_MS = 10_000;
const ATTEMPTS = 60;
const ASK_AGAIN_EVERY = 3;
const NOWHERE: Status = { state: "disconnected", reason: "", transport: "", node: "", session: "", key: "" };

export class Session {
  #socket: Socket | null = null;
  #identity: Identity | null = null;
  #status: Status = NOWHERE;
  #ready: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly listener: Listener) {}

  get status(): Status {
    return this.#status;
  }

  open(url: string, backoff: Backoff | null, identity: Identity, where: Where): void {
    this.close();
    this.#identity = identity;
    const socket = io(url, {
      forceNew: true,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      reconnectionAttempts: ATTEMPTS,
      ...(backoff && {
        reconnectionDelay: backoff.minMs,
        reconnectionDelayMax: backoff.maxMs,
        randomizationFactor: backoff.jitter,
      }),
      auth: (give) => give(this.#auth()),
    });
    this.#socket = socket;
    this.#set({ state: "connecting", reason: "" });
    this.#listen(socket);
    socket.io.on("reconnect_attempt", (attempt) => {
      if (attempt % ASK_AGAIN_EVERY === 0) void this.#moveOn(socket, url, where);
    });
    socket.io.on("reconnect_failed", () => this.close(`gave up after ${ATTEMPTS} attempts`));
  }

  close(reason = ""): void {
    clearTimeout(this.#ready);
    this.#socket?.removeAllListeners();
    this.#socket?.io.removeAllListeners();
    this.#socket?.disconnect();
    this.#socket = null;
    this.#status = NOWHERE;
    this.#set({ reason });
  }

  /** Emits join or leave; gives what went wrong, or null. */
  async room(action: "join" | "leave", room: string): Promise<string | null> {
    const answer = await this.#ask(action, room);
    if (typeof answer === "string") return answer;
    const rooms = Array.isArray(answer["rooms"]) ? answer["rooms"].map(String) : [];
    if (this.#identity) this.#identity = { ...this.#identity, rooms };
    this.listener.rooms(rooms);
    return null;
  }

  /** Emits accept, where no ops mean every op; gives what went wrong, or null. */
  async accept(ops: number[]): Promise<string | null> {
    const answer = await this.#ask("accept", ops.length ? ops : null);
    if (typeof answer === "string") return answer;
    if (this.#identity) this.#identity = { ...this.#identity, accepts: ops.length ? ops : null };
    return null;
  }

  async #ask(event: string, value: unknown): Promise<Json | string> {
    if (this.#status.state !== "connected" || !this.#socket) return "Not connected";
    try {
      const answer: unknown = await this.#socket.timeout(ANSWER_DEADLINE_MS).emitWithAck(event, value);
      const error = asObject(asObject(answer)["error"]);
      if ("message" in error) return `${String(error["message"])} (${String(error["code"])})`;
      return asObject(answer);
    } catch {
      return `The node did not answer within ${ANSWER_DEADLINE_MS / 1000} s`;
    }
  }

  #auth(): Json {
    const { key, mid, rooms, accepts, token } = this.#identity ?? { key: "", mid: "", rooms: [], accepts: null, token: "" };
    const known = key || this.#status.key; // a key that the node made up stays ours over reconnects
    return {
      platform: "web",
      ...(known && { key: known }),
      ...(mid && { mid }),
      ...(rooms.length && { rooms }),
      ...(accepts && { accepts }),
      ...(token && { token }),
    };
  }

  #listen(socket: Socket): void {
    socket.on("connect", () => {
      this.#ready = setTimeout(() => this.close("the node did not say ready in time"), READY_DEADLINE_MS);
      const engine = socket.io.engine;
      this.#set({ transport: engine.transport.name });
      engine.on("upgrade", (transport) => this.#set({ transport: transport.name }));
    });
    socket.on("ready", (ready: unknown) => {
      clearTimeout(this.#ready);
      const { node, session, key } = asObject(ready);
      this.#set({ state: "connected", reason: "", node: String(node), session: String(session), key: String(key) });
      this.listener.rooms(this.#identity?.rooms ?? []);
    });
    socket.on("push", (push: unknown) => this.#received(asObject(push), performance.now()));
    socket.on("connect_error", (error: Error & { data?: unknown }) => {
      const code = asObject(error.data)["code"];
      const reason = code === undefined ? error.message : `${error.message} (${String(code)})`;
      if (socket.active) this.#set({ state: this.#status.node ? "reconnecting" : "connecting", reason });
      else this.close(reason);
    });
    socket.on("disconnect", (reason) => {
      clearTimeout(this.#ready);
      if (socket.active) this.#set({ state: "reconnecting", reason });
      else this.close(reason === "io server disconnect" ? "the node ended the session" : reason);
    });
  }

  #received(push: Json, at: number): void {
    const { op, msg, key, push_id: pushId } = push;
    this.listener.push({ op, msg, key: String(key ?? ""), pushId: String(pushId ?? "") }, at);
  }

  async #moveOn(socket: Socket, url: string, where: Where): Promise<void> {
    const other = await where().catch(() => null); // no answer: the node we know remains the best guess
    if (!other || other.url === url || this.#socket !== socket || socket.connected) return;
    const identity = this.#identity;
    if (identity) this.open(other.url, other.backoff, { ...identity, key: identity.key || this.#status.key }, where);
  }

  #set(change: Partial<Status>): void {
    this.#status = { ...this.#status, ...change };
    this.listener.status(this.#status);
  }
}

function asObject(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}
