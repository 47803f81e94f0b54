// @cloudpush/client: durable pushes once and in order, over reconnects, changes of node, and reloads.
export { Client, connect } from "./client.js";
export { CloudpushError } from "./types.js";
export type { Backoff, Events, Gap, Joined, Options, Place, Push, Ready, State, Status, Store, Where } from "./types.js";
