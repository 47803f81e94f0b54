// Keeps one session with a node going: finds the node, connects, tries again after a while, or ends and says why.
//
// Every attempt has one deadline over all its steps (finding the node, the token, connect, `ready`). An attempt that is
// over is dropped whole, with its socket; what it still has under way finds that it is not the present one.
// Reconnecting is done here and not by socket.io-client, because an attempt may need another node and a new token.
import type { ManagerOptions, Socket, SocketOptions } from "socket.io-client";
import { CloudpushError, type Gap, type Options, type Push, type Ready, type State, type Status, type Where } from "./types.js";
import { BACKOFF, delayMs, findNode } from "./where.js";

export type Dial = (url: string, options: Partial<ManagerOptions & SocketOptions>) => Socket;
type Json = Record<string, unknown>;

/** What a node refuses now and may take later, or another node may. */
const PASSING = ["full", "draining", "store_unavailable"];
const ASK_EVERY = 3;
/** A node that stops closes the websocket with this code (RFC 6455, "service restart"). */
const STOPPING = 1012;

export interface Hooks {
  /** Who to be, for the node. */
  auth(): Json;
  status(status: Status): void;
  ready(ready: Ready): void;
  /** *answer* tells the node that the app has it. */
  push(push: Push, answer: (() => void) | undefined): void;
  gap(gap: Gap): void;
}

export class Link {
  status: Status = { state: "closed", reason: "" };
  session: Ready | null = null;
  #socket: Socket | null = null;
  #attempt = {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #where: Where | null = null;
  #askAgain = true;
  #failures = 0;
  #wasReady = false;
  readonly #waiters = new Set<() => void>();
  readonly deadlineMs: number;

  constructor(
    readonly options: Options,
    readonly dial: Dial,
    readonly hooks: Hooks,
  ) {
    this.deadlineMs = options.deadlineMs ?? 10_000;
  }

  /** The socket of a session that is ready. */
  get socket(): Socket | null {
    return this.session && this.#socket;
  }

  get transport(): string {
    return this.#socket?.io?.engine?.transport?.name ?? "";
  }

  open(): void {
    if (this.status.state !== "closed") return;
    this.#failures = 0;
    this.#wasReady = false;
    this.#set("connecting");
    void this.#begin();
  }

  /** Ends it, for good unless it is opened again; the connection itself once *last* is settled. */
  close(reason: string, last?: Promise<void>): void {
    this.#drop(last);
    if (this.status.state !== "closed") this.#set("closed", reason);
  }

  /** Disconnects until `go`. */
  pause(reason: string): void {
    this.#drop();
    this.#set("reconnecting", reason);
  }

  go(): void {
    void this.#begin();
  }

  /** Emits *event* on a session that is ready, on the next one if that ends first; gives the node's answer. */
  async ask(event: string, value: () => unknown): Promise<Json> {
    const until = performance.now() + this.deadlineMs;
    for (;;) {
      const socket = await this.#connected(until);
      const left = Math.max(1, until - performance.now());
      const answer = await socket.timeout(left).emitWithAck(event, value()).catch(() => null);
      if (answer?.error) throw new CloudpushError(String(answer.error.code), String(answer.error.message));
      if (answer) return answer;
      if (performance.now() >= until) throw late(event, this.deadlineMs);
    }
  }

  #connected(until: number): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (this.socket) resolve(this.socket);
        else if (this.status.state === "closed") reject(new CloudpushError("closed", this.status.reason || "not connected"));
        else return;
        clearTimeout(timer);
        this.#waiters.delete(look);
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(look);
        reject(late("a session", this.deadlineMs));
      }, until - performance.now());
      this.#waiters.add(look);
      look();
    });
  }

  async #begin(): Promise<void> {
    const attempt = (this.#attempt = {});
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#retry(`not ready within ${this.deadlineMs / 1000} s`), this.deadlineMs);
    try {
      if (this.#askAgain) this.#where = await this.#find();
      const { token } = this.options;
      const now = typeof token === "function" ? await token() : token;
      if (attempt === this.#attempt && this.#where) this.#connect(this.#where.url, now ? { token: now } : {});
    } catch (error) {
      if (attempt === this.#attempt) this.#retry(error instanceof Error ? error.message : String(error));
    }
  }

  /** The node to go to; the one we know when nobody names another. */
  async #find(): Promise<Where> {
    try {
      const found = await findNode(this.options, this.deadlineMs);
      this.#askAgain = false;
      return found;
    } catch (error) {
      if (!this.#where) throw error;
      return this.#where;
    }
  }

  #connect(url: string, token: Json): void {
    const socket = this.dial(url, {
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      ...this.options.socket,
      forceNew: true,
      reconnection: false,
      auth: { ...this.hooks.auth(), ...token },
    });
    this.#socket = socket;
    socket.on("ready", (ready: Ready) => {
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#wasReady = true;
      this.session = ready;
      this.#set("connected");
      if (socket === this.#socket) this.hooks.ready(ready); // unless a listener has closed it
    });
    socket.on("push", (push: Push, answer?: () => void) => this.hooks.push(push, answer));
    socket.on("gap", (gap: Gap) => this.hooks.gap(gap));
    socket.on("connect_error", (error: Error & { data?: { code?: string } }) => {
      const code = error.data?.code;
      const reason = code ? `${error.message} (${code})` : error.message;
      if (socket.active) this.#retry(reason);
      else if (code && PASSING.includes(code)) this.#retry(reason, true);
      else this.close(reason);
    });
    socket.on("disconnect", (reason, details) => {
      const { code } = ((details as { context?: unknown } | undefined)?.context ?? {}) as { code?: number };
      if (reason === "io server disconnect") this.close("the node ended the session");
      else this.#retry(reason, code === STOPPING);
    });
  }

  #retry(reason: string, elsewhere = false): void {
    this.#drop();
    const { attempts = Infinity, backoff = BACKOFF } = this.options;
    this.#failures += 1;
    if (this.#failures >= attempts) return this.close(`gave up after ${attempts} attempts: ${reason}`);
    this.#askAgain ||= elsewhere || this.#failures % ASK_EVERY === 0;
    this.#timer = setTimeout(() => void this.#begin(), delayMs(this.#where?.backoff ?? backoff, this.#failures, Math.random()));
    this.#set(this.#wasReady ? "reconnecting" : "connecting", reason);
  }

  #drop(last?: Promise<void>): void {
    clearTimeout(this.#timer);
    this.#attempt = {};
    this.session = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.off();
    if (last) void last.then(() => socket?.disconnect()); // a node may not look at what comes just before a disconnect
    else socket?.disconnect();
  }

  #set(state: State, reason = ""): void {
    this.status = { state, reason };
    for (const look of [...this.#waiters]) look();
    this.hooks.status(this.status);
  }
}

function late(what: string, ms: number): CloudpushError {
  return new CloudpushError("timeout", `${what}: not within ${ms / 1000} s`);
}
