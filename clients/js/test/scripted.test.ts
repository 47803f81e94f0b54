// What only a socket that the test itself plays can show: the order of things within one task.
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { mock, test } from "node:test";
import { Client } from "../src/index.js";
import type { Dial } from "../src/link.js";
import { open } from "./app.js";
import { Shelf } from "./node.js";
import { at, push } from "./places.js";

/** A socket whose server is the test. */
class FakeSocket extends EventEmitter {
  active = true;
  readonly sent: [string, unknown][] = [];
  override off(): this {
    return this.removeAllListeners();
  }
  disconnect(): void {}
  timeout(): this {
    return this;
  }
  async emitWithAck(event: string, value: unknown): Promise<unknown> {
    this.sent.push([event, value]);
    return {};
  }
}

function scripted(storage: Shelf | null = null): { client: Client; socket: Promise<FakeSocket>; got: unknown[] } {
  let dialed = (_: FakeSocket): void => {};
  const socket = new Promise<FakeSocket>((resolve) => (dialed = resolve));
  const dial = (() => {
    const made = new FakeSocket();
    dialed(made);
    return made;
  }) as unknown as Dial;
  const client = new Client({ url: "http://n", key: "k", storage, ackMs: 60_000 }, dial).connect();
  open.push(client);
  const got: unknown[] = [];
  client.on("push", ({ msg }) => got.push(msg));
  return { client, socket, got };
}

const READY = { key: "k", session: "s", node: "n", recovered: {}, cursors: {} };

test("the cursor is stored in the task that the message came in, once its handler is done", async () => {
  const shelf = new Shelf();
  const { client, socket, got } = scripted(shelf);
  const wire = await socket;
  wire.emit("ready", READY);
  wire.emit("push", push(1));
  assert.deepEqual(got, [1]);
  assert.deepEqual(JSON.parse(shelf.getItem('cloudpush:["k",""]')!), { key: "k", done: [["k", "e", 1]], seen: ["p1"] });
  client.close();
});

test("pushes that overtake ready are handed over, and ready does not take their cursor back", async () => {
  const { client, socket, got } = scripted();
  const wire = await socket;
  wire.emit("push", push(5));
  wire.emit("ready", { ...READY, cursors: { k: at(4) } });
  wire.emit("push", push(5));
  wire.emit("push", push(6));
  assert.deepEqual(got, [5, 6]);
  client.close();
});

test("a push that is not durable and carries an answer is answered when its handler is done", async () => {
  const { client, socket } = scripted();
  let release = (): void => {};
  client.on("push", () => new Promise<void>((resolve) => (release = resolve)));
  const wire = await socket;
  wire.emit("ready", READY);
  let answers = 0;
  wire.emit("push", { op: 9, msg: 1, key: "k", push_id: "x" }, () => (answers += 1));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(answers, 0);
  release();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(answers, 1);
  wire.emit("push", push(1), () => (answers += 1));
  release();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(answers, 1, "a durable one is acked with others");
  client.close();
});

test("messages that overtake the answer to a join are not taken back by it", async () => {
  const shelf = new Shelf();
  const { client, socket, got } = scripted(shelf);
  const wire = await socket;
  wire.emit("ready", READY);
  wire.emitWithAck = async () => {
    wire.emit("push", push(6, { key: "room:r" }));
    return { rooms: ["r"], cursor: at(5) };
  };
  await client.join("r", { history: 1 });
  assert.deepEqual([got, JSON.parse(shelf.getItem('cloudpush:["k",""]')!).done], [[6], [["room:r", "e", 6]]]);
  client.close();
});

test("messages that overtake the answer to a join keep their place also when others were lost, which is told", async () => {
  const shelf = new Shelf();
  shelf.setItem('cloudpush:["k",""]', JSON.stringify({ key: "k", done: [["room:r", "e", 2]], seen: [] }));
  const { client, socket, got } = scripted(shelf);
  const gaps: unknown[] = [];
  client.on("gap", (gap) => gaps.push(gap));
  const wire = await socket;
  wire.emit("ready", READY);
  wire.emitWithAck = async () => {
    wire.emit("push", push(6, { key: "room:r" }));
    return { rooms: ["r"], cursor: at(5), recovered: false };
  };
  await client.join("r");
  assert.deepEqual([got, gaps], [[6], [{ key: "room:r", reason: "trimmed", ...at(5) }]]);
  assert.deepEqual(JSON.parse(shelf.getItem('cloudpush:["k",""]')!).done, [["room:r", "e", 6]]);
  client.close();
});

test("a gap moves the stored cursor", async () => {
  const shelf = new Shelf();
  const { client, socket } = scripted(shelf);
  const wire = await socket;
  wire.emit("ready", READY);
  wire.emit("gap", { key: "k", reason: "trimmed", ...at(8) });
  assert.deepEqual(JSON.parse(shelf.getItem('cloudpush:["k",""]')!).done, [["k", "e", 8]]);
  client.close();
});

test("a node is told of what is done, not of what waits: it takes a cursor for an ack", async () => {
  const auths: unknown[] = [];
  const sockets: FakeSocket[] = [];
  const dial = ((_: string, { auth }: { auth: unknown }) => {
    auths.push(auth);
    sockets.push(new FakeSocket());
    return sockets.at(-1);
  }) as unknown as Dial;
  const client = new Client({ url: "http://n", key: "k", storage: null, backoff: { minMs: 1, maxMs: 1, jitter: 0 } }, dial);
  open.push(client);
  const got: unknown[] = [];
  client.on("push", ({ msg }) => {
    got.push(msg);
    return msg === 2 ? new Promise(() => {}) : undefined;
  });
  client.connect();
  while (sockets.length < 1) await new Promise((resolve) => setImmediate(resolve));
  sockets[0]!.emit("ready", READY);
  for (const n of [1, 2, 3]) sockets[0]!.emit("push", push(n));
  sockets[0]!.emit("disconnect", "transport close");
  while (sockets.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(got, [1, 2]);
  assert.deepEqual(auths, [
    { platform: "web", key: "k" },
    { platform: "web", key: "k", resume: { k: at(1) } },
  ]);
  client.close();
});

test("an offset of an epoch that the wire has left is not acked", async () => {
  const { client, socket } = scripted();
  const wire = await socket;
  wire.emit("ready", READY);
  wire.emit("push", push(7));
  wire.emit("push", push(7, { key: "other", push_id: "q" }));
  wire.emit("gap", { key: "k", reason: "epoch", ...at(0, "f") });
  client.close();
  assert.deepEqual(wire.sent, [["ack", { other: 7 }]]);
});

test("a page that goes away sends the acks that wait", async () => {
  const page = Object.assign(globalThis, {});
  const listeners = new Map<string, () => void>();
  Object.assign(page, { addEventListener: (name: string, act: () => void) => listeners.set(name, act), removeEventListener: (name: string) => listeners.delete(name) });
  const { client, socket } = scripted();
  const wire = await socket;
  wire.emit("ready", READY);
  wire.emit("push", push(1));
  assert.deepEqual(wire.sent, []);
  listeners.get("pagehide")?.();
  assert.deepEqual(wire.sent, [["ack", { k: 1 }]]);
  client.close();
  assert.equal(listeners.size, 0);
  Object.assign(page, { addEventListener: undefined, removeEventListener: undefined });
});

test("who is told to be another keeps the places of the new session, not the messages of the old one", async () => {
  const shelf = new Shelf();
  const { client, socket } = scripted(shelf);
  const wire = await socket;
  wire.emit("ready", { ...READY, cursors: { k: at(0), all: at(4) } });
  wire.emit("push", push(5, { key: "all" }));
  wire.emit("ready", { ...READY, key: "other", cursors: { other: at(2), all: at(5) } });
  const { key, done, seen } = JSON.parse(shelf.getItem('cloudpush:["k",""]')!);
  assert.deepEqual([key, done, seen], ["other", [["other", "e", 2], ["all", "e", 5]], []]);
  client.close();
});

test("a socket that was dropped is not listened to", async () => {
  const { client, socket, got } = scripted();
  const wire = await socket;
  wire.emit("ready", READY);
  client.close("enough");
  wire.emit("push", push(1));
  assert.deepEqual([got, client.status], [[], { state: "closed", reason: "enough" }]);
});

test("a listener that throws is told of by the error event, and one of error that throws does not go round", async () => {
  const told: unknown[] = [];
  mock.method(console, "error", (error: unknown) => told.push(error));
  const { client, socket, got } = scripted();
  const wire = await socket;
  client.on("error", () => {
    throw new Error("again");
  });
  client.on("ready", () => {
    throw new Error("first");
  });
  wire.emit("ready", READY);
  wire.emit("push", push(1));
  assert.deepEqual(got, [1]);
  assert.match(String(told[0]), /a listener of error failed: Error: again/);
  client.close();
  mock.restoreAll();
});
