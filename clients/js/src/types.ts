// What goes in and out of the client: names are those of the wire, so that docs/api.md speaks of both.
import type { ManagerOptions, SocketOptions } from "socket.io-client";

/** A place in a key's inbox. Offsets count up within an epoch; an epoch ends when the store has lost something. */
export interface Place {
  epoch: string;
  offset: number;
}

/** One message. `offset` and `epoch` are there when it is durable. */
export interface Push {
  op: number;
  msg: unknown;
  key: string;
  push_id: string;
  offset?: number;
  epoch?: string;
}

/** A session is up: from now on pushes arrive. `recovered[key]` false: messages of that key were lost meanwhile. */
export interface Ready {
  key: string;
  session: string;
  node: string;
  recovered: Record<string, boolean>;
  cursors: Record<string, Place>;
}

/** Messages of `key` were lost; what follows continues after this place. */
export interface Gap extends Place {
  key: string;
  reason: "trimmed" | "epoch";
}

export type State = "connecting" | "connected" | "reconnecting" | "closed";

/** `reason`: why the state is not `connected`, for people; empty when there is nothing to say. */
export interface Status {
  state: State;
  reason: string;
}

/** What a node answers to `join`: `cursor` is where the room begins for this session. */
export interface Joined {
  rooms: string[];
  cursor?: Place;
  recovered?: boolean;
}

/** How long to wait before connecting again: minMs, doubled each time up to maxMs, ± the share `jitter` by chance. */
export interface Backoff {
  minMs: number;
  maxMs: number;
  jitter: number;
}

/** Where to connect. */
export interface Where {
  url: string;
  backoff?: Backoff | null;
}

/** What localStorage and sessionStorage are; anything with these three will do. */
export interface Store {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

type Asked<T> = T | (() => T | Promise<T>);

export interface Options {
  /** A node, or a function that names one; asked again after failures. */
  url?: string | (() => string | Where | Promise<string | Where>) | undefined;
  /** Without `url`: base URL of the REST API, whose GET /v1/nodes/best names the node. Default: this page's origin. */
  rest?: string | undefined;
  /** No key: the node makes one, which then stays. */
  key?: string | undefined;
  mid?: string | number | undefined;
  rooms?: readonly string[] | undefined;
  /** Ops to be told; null: every op. */
  accepts?: readonly number[] | null | undefined;
  /** Asked again at each connect. */
  token?: Asked<string> | undefined;
  platform?: string | undefined;
  /** Keeps cursors. Default: sessionStorage, so that each tab has its own and a reload keeps them; null: memory only. */
  storage?: Store | null | undefined;
  /** First part of the name in `storage`; two clients of one identity in one storage need two. */
  namespace?: string | undefined;
  /** How long an ack may wait for others, ms. */
  ackMs?: number | undefined;
  /** Messages that may wait for a slow handler; one more, and the client disconnects until they are done. */
  waiting?: number | undefined;
  /** How long one attempt to connect, or one answer of a node, may take, ms. */
  deadlineMs?: number | undefined;
  /** Attempts in a row before it gives up. Default: it never does. */
  attempts?: number | undefined;
  /** Used where GET /v1/nodes/best has not said. */
  backoff?: Backoff | undefined;
  /** Passed on to socket.io-client, such as `path` or `transports`. */
  socket?: Partial<ManagerOptions & SocketOptions> | undefined;
}

/** What went wrong. `code` is the node's, or one of: timeout, closed, rest, handler, storage. */
export class CloudpushError extends Error {
  constructor(
    readonly code: string,
    message: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CloudpushError";
  }
}

export interface Events {
  push: Push;
  ready: Ready;
  gap: Gap;
  state: Status;
  error: CloudpushError;
}
