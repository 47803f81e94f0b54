import assert from "node:assert/strict";
import { test } from "node:test";
import type { Push } from "../src/index.js";
import { Memory } from "../src/memory.js";
import { Shelf } from "./node.js";
import { at, push } from "./places.js";

const noComplaint = (error: unknown): void => assert.fail(String(error));
const remember = (shelf: Shelf): Memory => new Memory(shelf, "m", noComplaint);

test("what came once in an epoch is not fresh again, in another epoch it is", () => {
  const memory = remember(new Shelf());
  assert.ok(memory.take(push(1)));
  assert.ok(memory.take(push(3)));
  assert.ok(!memory.take(push(3)));
  assert.ok(!memory.take(push(2)));
  assert.ok(memory.take(push(2, { key: "other" })));
  assert.ok(memory.take(push(2, { epoch: "f" })));
  const ephemeral: Push = { op: 9, msg: 1, key: "k", push_id: "x" };
  assert.ok(memory.take(ephemeral) && memory.take(ephemeral));
});

test("what came but was not done is not stored", () => {
  const shelf = new Shelf();
  const memory = remember(shelf);
  memory.take(push(1));
  memory.finish("p1", "k", at(1));
  memory.take(push(2));
  const next = remember(shelf);
  assert.ok(!next.take(push(1)));
  assert.ok(next.has("p1") && !next.has("p2"));
  assert.ok(next.take(push(2)));
});

test("2,000 push_ids are kept and 64 of them stored, the latest", () => {
  const shelf = new Shelf();
  const memory = remember(shelf);
  for (let n = 1; n <= 2_300; n += 1) memory.finish(`p${n}`, "k", at(n));
  assert.deepEqual([300, 301, 2_300].map((n) => memory.has(`p${n}`)), [false, true, true]);
  assert.deepEqual([2_236, 2_237, 2_300].map((n) => remember(shelf).has(`p${n}`)), [false, true, true]);
});

test("resume holds at most 200 cursors, the latest, and none of rooms that were left", () => {
  const memory = remember(new Shelf());
  for (let n = 0; n < 1_500; n += 1) memory.take(push(1, { key: `room:${n}` })), memory.begin(`room:${n}`, at(1));
  assert.deepEqual([memory.received.size, memory.done.size], [1_000, 1_000]);
  const rooms = new Set(Array.from({ length: 1_500 }, (_, n) => `${n}`));
  assert.equal(Object.keys(memory.resume(rooms)).length, 200);
  assert.ok("room:1499" in memory.resume(rooms) && !("room:1299" in memory.resume(rooms)));
  assert.deepEqual(memory.resume(new Set(["1499"])), { "room:1499": at(1) });
});

test("names that objects know already are keys like any other", () => {
  const shelf = new Shelf();
  const memory = remember(shelf);
  for (const key of ["__proto__", "constructor"]) memory.take(push(1, { key })), memory.finish(`p-${key}`, key, at(1));
  const resume = remember(shelf).resume(new Set());
  assert.deepEqual(Object.entries(resume), [["__proto__", at(1)], ["constructor", at(1)]]);
});

test("a storage that holds something else is told of, and begun anew", () => {
  const shelf = new Shelf();
  shelf.setItem("m", "{not ours");
  const complaints: unknown[] = [];
  const memory = new Memory(shelf, "m", (error) => complaints.push(error));
  assert.equal(complaints.length, 1);
  memory.finish("p1", "k", at(1));
  assert.ok(remember(shelf).has("p1"));
});

test("a stored cursor that is none is left out: a node would refuse the session for it", () => {
  const shelf = new Shelf();
  const done = [["a", "e", null], ["b", 1, 1], ["c", "e", -1], ["d", "e", 1.5], ["k", "e", 3]];
  shelf.setItem("m", JSON.stringify({ key: "k", done }));
  assert.deepEqual(remember(shelf).resume(new Set()), { k: at(3) });
});
