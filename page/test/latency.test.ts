import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMs, LatencyBook, REMEMBERED, WINDOW } from "../src/latency.js";

test("a push that arrives after its 202 has its latency at once", () => {
  const book = new LatencyBook();
  assert.deepEqual(book.sent("p1", 100), []);
  assert.equal(book.arrived("p1", 104.5), 4.5);
  assert.equal(book.count, 1);
});

test("a push that overtakes its 202 gets its latency when the 202 comes", () => {
  const book = new LatencyBook();
  assert.equal(book.arrived("p1", 103), null);
  assert.deepEqual(book.sent("p1", 100), [3]);
  assert.equal(book.percentile(50), 3);
});

test("every copy of a push counts, before and after its 202", () => {
  const book = new LatencyBook();
  book.arrived("p1", 101);
  book.arrived("p1", 102);
  assert.deepEqual(book.sent("p1", 100), [1, 2]);
  assert.equal(book.arrived("p1", 103), 3);
  assert.equal(book.count, 3);
});

test("a push sent elsewhere has no latency", () => {
  const book = new LatencyBook();
  book.sent("mine", 100);
  assert.equal(book.arrived("theirs", 101), null);
  assert.equal(book.count, 0);
  assert.equal(book.percentile(99), null);
});

test("percentiles are of the nearest rank", () => {
  const book = new LatencyBook();
  for (let ms = 100; ms >= 1; ms -= 1) {
    book.sent(`p${ms}`, 0);
    book.arrived(`p${ms}`, ms);
  }
  assert.equal(book.percentile(50), 50);
  assert.equal(book.percentile(99), 99);
});

test("only the latest latencies count, and pushes long past are forgotten", () => {
  const book = new LatencyBook();
  book.sent("old", 0);
  for (let i = 0; i < REMEMBERED; i += 1) {
    book.sent(`p${i}`, 0);
    book.arrived(`p${i}`, i < REMEMBERED - WINDOW ? 1_000 : 1);
  }
  assert.equal(book.count, WINDOW);
  assert.equal(book.percentile(99), 1);
  assert.equal(book.arrived("old", 5), null);
});

test("clear forgets latencies but not a push under way", () => {
  const book = new LatencyBook();
  book.sent("p1", 0);
  book.arrived("p1", 1);
  book.clear();
  assert.equal(book.count, 0);
  assert.equal(book.arrived("p1", 2), 2);
});

test("short times keep a decimal, long ones do not, and none is a dash", () => {
  assert.equal(formatMs(3.44), "3.4 ms");
  assert.equal(formatMs(120.4), "120 ms");
  assert.equal(formatMs(null), "—");
});
