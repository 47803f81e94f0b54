// An app on the client, and the node that it talks to: one for each test, gone after it.
import assert from "node:assert/strict";
import { afterEach, beforeEach } from "node:test";
import { Client, type CloudpushError, type Events, type Gap, type Options, type Push } from "../src/index.js";
import { ScriptedNode } from "./node.js";

export const QUICK = { minMs: 1, maxMs: 5, jitter: 0.5 };
const WAIT_MS = 5_000;
export let node: ScriptedNode;
/** What is to be closed after the test. */
export const open: { close(): void }[] = [];
const nodes: ScriptedNode[] = [];

beforeEach(async () => {
  node = await startNode();
});
afterEach(async () => {
  for (const each of open.splice(0)) each.close();
  for (const each of nodes.splice(0)) await each.stop();
});

export async function startNode(...more: Parameters<typeof ScriptedNode.start>): Promise<ScriptedNode> {
  const started = await ScriptedNode.start(...more);
  nodes.push(started);
  return started;
}

/** An app: a client, and what its handlers were told. */
export class App {
  readonly got: unknown[] = [];
  readonly pushes: Push[] = [];
  readonly gaps: Gap[] = [];
  readonly states: string[] = [];
  readonly errors: CloudpushError[] = [];
  readies = 0;
  readonly client: Client;

  constructor(options: Options = {}) {
    this.client = new Client({ url: node.url, key: "k", backoff: QUICK, ackMs: 5, deadlineMs: 2_000, storage: null, ...options });
    this.client.on("push", (push) => {
      this.got.push(push.msg);
      this.pushes.push(push);
    });
    this.client.on("ready", () => (this.readies += 1));
    this.client.on("gap", (gap) => this.gaps.push(gap));
    this.client.on("state", ({ state, reason }) => this.states.push(reason ? `${state}: ${reason}` : state));
    this.client.on("error", (error) => this.errors.push(error));
    open.push(this.client);
  }

  connect(): this {
    this.client.connect();
    return this;
  }

  async ready(): Promise<this> {
    await until(() => this.readies > 0, "ready");
    return this;
  }
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + WAIT_MS;
  while (!condition()) {
    if (Date.now() > end) assert.fail(`not within ${WAIT_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export async function once<N extends keyof Events>(client: Client, name: N): Promise<Events[N]> {
  const values: Events[N][] = [];
  const off = client.on(name, (value) => values.push(value));
  await until(() => values.length > 0, name);
  off();
  return values[0]!;
}

export const count = (to: number, from = 1): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);
