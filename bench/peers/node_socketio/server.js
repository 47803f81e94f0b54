// Socket.IO's own server on ws, with its defaults.  Arguments: port, port for orders (see bench/peers/orders.py).
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const [port, ordersPort] = process.argv.slice(2).map(Number);
const FRAME_BYTES = 128; // this and the next two: bench/peers/bodies.py
const ALL = "room:bench";
const UNICAST_TURN = 500;
const AROUND = '42["push",{"op":9,"msg":,"key":"","push_id":""}]'.length;
const TICK_MS = 10;

const http = createServer();
const io = new Server(http, { transports: ["websocket"] });
io.on("connection", (socket) => socket.join([socket.handshake.auth.key, ALL]));

const turn = () => new Promise((resolve) => setImmediate(resolve));

function send(key, msg) {
  io.to(key).emit("push", { op: 9, msg, key, push_id: "" });
}

function body(n, key) {
  const t = Number(process.hrtime.bigint()); // CLOCK_MONOTONIC; below 2**53 for the first 104 days after a boot
  const bare = JSON.stringify({ t, n, p: "" }).length;
  return { t, n, p: "x".repeat(Math.max(0, FRAME_BYTES - AROUND - key.length - bare)) };
}

let late = [];
let watches = false;

function watch() {
  watches = true;
  let due = performance.now() + TICK_MS;
  setInterval(() => {
    const now = performance.now();
    if (late.length < 1_000_000) late.push(Math.max(0, now - due));
    due = now + TICK_MS;
  }, TICK_MS);
}

const orders = {
  async burst({ count, at_once }) {
    for (let n = 0; n < count; n++) {
      send(ALL, body(n, ALL));
      if (!at_once) await turn();
    }
  },
  async paced({ count, every_s }) {
    const began = performance.now();
    for (let n = 0; n < count; n++) {
      await sleep(Math.max(0, began + n * every_s * 1000 - performance.now()));
      send(ALL, body(n, ALL));
    }
  },
  async unicast({ count, sessions }) {
    for (let i = 0; i < count; i++) {
      const key = `s${i % sessions}`;
      send(key, body(Math.floor(i / sessions), key));
      if (i % UNICAST_TURN === UNICAST_TURN - 1) await turn();
    }
  },
  async lag() {
    if (!watches) watch(); // not before: a clock that ticks is CPU time which the plain loop does not spend
    const sorted = (late.length ? late : [0]).sort((a, b) => a - b);
    late = [];
    const at = (percent) => sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))];
    return { p50_ms: at(50), p99_ms: at(99), max_ms: sorted[sorted.length - 1] };
  },
};

createTcpServer((connection) => {
  connection.on("error", () => connection.destroy());
  createInterface({ input: connection }).on("line", async (line) => {
    const { do: name, ...rest } = JSON.parse(line);
    if (name === undefined) return send(ALL, rest);
    connection.write(JSON.stringify((await orders[name](rest)) ?? {}) + "\n");
  });
}).listen(ordersPort, "127.0.0.1");
http.listen(port, "127.0.0.1");
