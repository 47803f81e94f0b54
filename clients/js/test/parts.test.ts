// The line, the acks, the delays: parts that need neither server nor socket.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Acks } from "../src/acks.js";
import { Line } from "../src/line.js";
import { delayMs, findNode } from "../src/where.js";
import { at } from "./places.js";

test("line: what takes no time is done in the same task, what takes some holds up the rest", async () => {
  const done: number[] = [];
  let release = (): void => {};
  const line: Line<number> = new Line(
    (n) => {
      done.push(n);
      return n === 2 ? new Promise<void>((resolve) => (release = resolve)) : undefined;
    },
    () => true,
    () => done.push(0),
  );
  line.add(1);
  assert.deepEqual(done, [1, 0]);
  for (const n of [2, 3, 4]) line.add(n);
  assert.deepEqual([done, line.length], [[1, 0, 2], 2]);
  release();
  await Promise.resolve();
  assert.deepEqual(done, [1, 0, 2, 3, 4, 0]);
});

test("line: a step that adds to it does not begin the next within itself", () => {
  const order: string[] = [];
  const line: Line<number> = new Line(
    (n) => {
      order.push(`begin ${n}`);
      if (n === 1) line.add(2);
      order.push(`end ${n}`);
    },
    () => true,
    () => {},
  );
  line.add(1);
  assert.deepEqual(order, ["begin 1", "end 1", "begin 2", "end 2"]);
});

test("acks: a batch goes after the interval or with the 64th message; a lost one waits unless a later place is there", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const sent: Record<string, number>[] = [];
  let arrives = true;
  const acks = new Acks(50, async (places) => {
    sent.push(Object.fromEntries([...places].map(([key, { offset }]) => [key, offset])));
    return arrives;
  });
  acks.add("a", at(1));
  acks.add("b", at(1));
  acks.add("a", at(2));
  mock.timers.tick(49);
  assert.deepEqual(sent, []);
  mock.timers.tick(1);
  assert.deepEqual(sent, [{ a: 2, b: 1 }]);
  for (let n = 3; n < 67; n += 1) acks.add("a", at(n));
  assert.deepEqual(sent.at(-1), { a: 66 });
  arrives = false;
  acks.add("a", at(67));
  acks.add("b", at(2));
  const lost = acks.flush();
  acks.add("a", at(68));
  await lost;
  arrives = true;
  await acks.flush();
  assert.deepEqual(sent.at(-1), { a: 68, b: 2 });
  mock.timers.reset();
});

test("delays double up to a most, each spread by chance", () => {
  const backoff = { minMs: 100, maxMs: 1_000, jitter: 0.5 };
  assert.deepEqual([1, 2, 3, 4, 5, 99].map((failures) => delayMs(backoff, failures, 0.5)), [100, 200, 400, 800, 1_000, 1_000]);
  assert.deepEqual([0, 1].map((random) => delayMs(backoff, 1, random)), [50, 150]);
});

test("the best node is asked for by REST; an answer without a url is refused", async () => {
  const asked: unknown[] = [];
  const answers = [
    { url: "http://n", backoff: { min_ms: 1, max_ms: 2, jitter: 0 } },
    { url: "http://n" },
    { title: "no node" },
  ];
  mock.method(globalThis, "fetch", async (path: unknown) => {
    asked.push(path);
    return Response.json(answers.shift());
  });
  assert.deepEqual(await findNode({ rest: "http://api/" }, 1_000), { url: "http://n", backoff: { minMs: 1, maxMs: 2, jitter: 0 } });
  assert.deepEqual(await findNode({}, 1_000), { url: "http://n", backoff: null });
  await assert.rejects(findNode({ rest: "http://api" }, 1_000), { code: "rest" });
  assert.deepEqual(asked, ["http://api/v1/nodes/best", "/v1/nodes/best", "http://api/v1/nodes/best"]);
  mock.restoreAll();
});
