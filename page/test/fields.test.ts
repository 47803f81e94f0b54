import assert from "node:assert/strict";
import { test } from "node:test";
import { gapNotice, jsonFlaw, parseOps, pretty, pushBody, readyNotice, rootField, SHOWN, splitList, type PushForm } from "../src/fields.js";

const FORM: PushForm = {
  kind: "keys",
  targets: "alice-phone",
  op: "9",
  priority: "normal",
  ttlS: "",
  delayS: "",
  durable: false,
  trace: false,
  requestId: "",
  server: "",
  msg: "1",
};

function bodyOf(change: Partial<PushForm>): string {
  const made = pushBody({ ...FORM, ...change });
  assert.ok("body" in made, "the form should be good");
  return made.body;
}

function errorsOf(change: Partial<PushForm>): Record<string, string> {
  const made = pushBody({ ...FORM, ...change });
  assert.ok("errors" in made, "the form should be bad");
  return Object.fromEntries(made.errors);
}

test("a list is split at commas and line breaks, trimmed, without repeats", () => {
  assert.deepEqual(splitList(" a, b\nlive://1000 ,, a "), ["a", "b", "live://1000"]);
  assert.deepEqual(splitList(" , "), []);
});

test("ops are whole numbers, separated by commas or blanks", () => {
  assert.deepEqual(parseOps("9, 1001 5"), { ops: [9, 1001, 5] });
  assert.deepEqual(parseOps(""), { ops: [] });
  assert.deepEqual(parseOps("9, x"), { error: "“x” is not a whole number" });
});

test("the least form makes the least body", () => {
  assert.deepEqual(JSON.parse(bodyOf({})), { keys: ["alice-phone"], op: 9, priority: "normal", msg: 1 });
});

test("every field that is filled in goes into the body", () => {
  const form = { kind: "rooms", targets: "a,b", ttlS: "1.5", server: " host:1 ", msg: '"hi"' } as const;
  assert.deepEqual(JSON.parse(bodyOf(form)), {
    rooms: ["a", "b"],
    op: 9,
    priority: "normal",
    ttl_s: 1.5,
    server: "host:1",
    msg: "hi",
  });
});

test("a push to all names no targets, whatever the field still holds", () => {
  assert.deepEqual(JSON.parse(bodyOf({ kind: "all" })), { all: true, op: 9, priority: "normal", msg: 1 });
});

test("the message is sent as typed: numbers beyond JavaScript's keep their digits", () => {
  const msg = '{"id": 12345678901234567890, "price": 1.10}';
  assert.ok(bodyOf({ msg }).endsWith(`,"msg":${msg}}`));
});

test("what is wrong with a form is told for each field, in the API's words", () => {
  assert.deepEqual(Object.keys(errorsOf({ kind: "mids", targets: " ", op: "x", ttlS: "0", msg: "hi" })).sort(), [
    "mids",
    "msg",
    "op",
    "ttl_s",
  ]);
});

test("text that is not JSON has a flaw, and its JSON string has none", () => {
  assert.match(jsonFlaw("hello") ?? "", /^Unexpected token .{0,12}$/);
  assert.notEqual(jsonFlaw("  "), null);
  assert.equal(jsonFlaw(JSON.stringify('he said "hello"')), null);
});

test("an error's path leads to its field", () => {
  assert.equal(rootField("keys[3]"), "keys");
  assert.equal(rootField("msg.text"), "msg");
  assert.equal(rootField(""), "");
});

test("a long message is cut, and the page says by how much", () => {
  assert.equal(pretty({ a: 1 }), '{\n  "a": 1\n}');
  assert.equal(pretty(undefined), "undefined");
  assert.ok(pretty("x".repeat(SHOWN + 8)).endsWith("… 10 more characters"));
});

test("what makes a push durable, late, traced or repeatable goes into the body, and only when it is asked for", () => {
  const body = bodyOf({ durable: true, trace: true, delayS: "1.5", requestId: " r1 " });
  assert.deepEqual(JSON.parse(body), {
    keys: ["alice-phone"], op: 9, priority: "normal", delay_s: 1.5, durable: true, trace: true, request_id: "r1", msg: 1,
  });
  assert.deepEqual(errorsOf({ delayS: "soon", ttlS: "0" }), { ttl_s: "Seconds, more than 0", delay_s: "Seconds, more than 0" });
});

test("a session that resumed says of what it missed nothing; a first one says nothing", () => {
  const ready = { key: "k", session: "s", node: "n", cursors: {} };
  assert.equal(readyNotice({ ...ready, recovered: {} }), "");
  assert.equal(readyNotice({ ...ready, recovered: { k: true, "room:r": false, all: true } }), "Resumed: nothing was missed of k, all");
  assert.match(gapNotice({ key: "k", reason: "epoch", epoch: "e", offset: 8 }), /of k were missed, the store.* after offset 8$/);
});
