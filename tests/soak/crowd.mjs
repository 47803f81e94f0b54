// All clients of a soak in one process: tabs that connect, reconnect, reload, lose acks, and tell what they saw.
//   node crowd.mjs '{"client": "./plain_client.mjs", "rest": URL, "nodes": [URL…], "keys": [key of tab 0, …],
//                    "vanilla": [tabs with plain_client.mjs], "dedupes": true, "seed": 1, "reconnect_s": 30, "reload_s": 60}'
// Orders come as lines of JSON on stdin: {"do": "reconnect" | "reload", "share": 0..1}, {"do": "lose_acks", "share"},
// {"do": "churn", "on": bool}; the end of stdin ends the process.  What was seen goes to stdout as lines of JSON, 20
// times a second: {"w": [[tab, n, epoch, offset]…], "h": [[tab, n, ms]…], "g": [[tab, text]…], "e": {error: count}, "open": tabs that are
// ready, "why": why others are not, if they are few, "reconnects", "reloads"} ("w" came over the wire, "h" was handled; ms is the machine's steady clock).
import { createInterface } from "node:readline";

const orders = JSON.parse(process.argv[2]);
const { Client } = await import(orders.client);
const { Client: PlainClient } = await import("./plain_client.mjs");

const EVERY_MS = 50;
const steadyMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;

// Mulberry32: small, seeded, good enough to choose who reconnects when.
const dice = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

const fresh = () => ({ w: [], h: [], g: [], e: {} });
let seen = fresh();
const counts = { reconnects: 0, reloads: 0 };
let losing = 0;
let churns = false;

// What localStorage is to a page: all that survives a reload.
class Storage {
  #items = new Map();
  getItem = (name) => this.#items.get(name) ?? null;
  setItem = (name, text) => void this.#items.set(name, String(text));
  removeItem = (name) => void this.#items.delete(name);
}

// A tab of a member or a room has a key of its own besides.
const identityOf = (id, key) => {
  const [kind, name] = key.split(":");
  return name ? { key: `tab-${id}-of-${name}`, ...(kind === "mid" ? { mid: name } : { rooms: [name] }) } : { key };
};

class Tab {
  #storage = new Storage();
  #client;

  constructor(id, key) {
    Object.assign(this, { id, key, random: dice(orders.seed * 1000 + id) });
    this.losesAcks = () => this.random() < losing;
    this.#open();
    this.#later(orders.reconnect_s, () => this.reconnect());
    this.#later(orders.reload_s, () => this.reload());
  }

  get isReady() {
    return this.#client.isReady;
  }

  get status() {
    return this.#client.status ?? "";
  }

  // The network is gone for a moment: the client itself must notice and come back.
  reconnect() {
    counts.reconnects += 1;
    this.#client.cut();
  }

  // The page is gone without goodbye, and loaded anew: only the storage is left.
  reload() {
    counts.reloads += 1;
    this.#client.destroy();
    this.#open();
  }

  #open() {
    const { id } = this;
    const { random, losesAcks } = this;
    const Kind = orders.vanilla.includes(id) ? PlainClient : Client;
    this.#client = new Kind({ ...orders, id, identity: identityOf(id, this.key), random, losesAcks, storage: this.#storage }, {
      wire: (push) => seen.w.push([id, push.msg.n, push.epoch ?? "", push.offset ?? 0]),
      handled: (push) => seen.h.push([id, push.msg.n, steadyMs()]),
      gap: (what) => seen.g.push([id, what]),
      error: (what) => (seen.e[what] = (seen.e[what] ?? 0) + 1),
    });
  }

  #later(mean_s, act) {
    if (!mean_s) return;
    const wait = () => setTimeout(() => {
      if (churns) act();
      wait();
    }, -Math.log(1 - this.random()) * mean_s * 1000);
    wait();
  }
}

const tabs = orders.keys.map((key, id) => new Tab(id, key));
const choose = dice(orders.seed);
const share = (part) => tabs.filter(() => choose() < part);
const carryOut = {
  reconnect: (order) => share(order.share).forEach((tab) => tab.reconnect()),
  reload: (order) => share(order.share).forEach((tab) => tab.reload()),
  lose_acks: (order) => void (losing = order.share),
  churn: (order) => void (churns = order.on),
};
const input = createInterface({ input: process.stdin });
input.on("line", (line) => carryOut[JSON.parse(line).do](JSON.parse(line)));
input.on("close", () => process.exit(0));

setInterval(() => {
  const away = tabs.filter((tab) => !tab.isReady);
  const why = away.length < tabs.length / 4 ? away.map((tab) => `tab ${tab.id}: ${tab.status}`) : [];
  process.stdout.write(`${JSON.stringify({ ...seen, open: tabs.length - away.length, why, ...counts })}\n`);
  seen = fresh();
}, EVERY_MS);
