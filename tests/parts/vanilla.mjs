// A stock socket.io-client that does one thing and tells each step as a line of JSON on stdout.
//   node vanilla.mjs session URL AUTH TRANSPORTS ROOM   connect, join ROOM, wait for one push, leave, disconnect
//   node vanilla.mjs refused URL AUTH TRANSPORTS        connect and be refused
//   node vanilla.mjs returns URL AUTH TRANSPORTS        connect, and be ready a second time after the node closed the connection
//   node vanilla.mjs life URL AUTH TRANSPORTS           connect, upgrade if there is something to upgrade to, tell what carries it,
//                                                       emit binary with an ack, wait for a push, have the node close the connection
//                                                       by sending it nonsense, come back by itself, and do all of it again
//   node vanilla.mjs durable URL AUTH TRANSPORTS COUNT  connect, tell each push and answer it, COUNT in all, and disconnect
// Exits with 3 when a step takes too long.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../page/package.json", import.meta.url));
const { io } = require("socket.io-client");

const [what, url, auth, transports, room] = process.argv.slice(2);
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));
const tell = (step, data) => console.log(JSON.stringify({ step, data }));
const deadline = setTimeout(() => process.exit(3), 15_000);
const socket = io(url, {
  auth: JSON.parse(auth),
  transports: transports.split(","),
  reconnectionDelay: 50,
  perMessageDeflate: { threshold: 0 },
});
const end = () => {
  clearTimeout(deadline);
  socket.disconnect();
};

socket.on("connect_error", (error) => {
  tell("connect_error", { message: error.message, data: error.data ?? null, again: socket.active });
  if (what === "refused") end();
});

const carry = async () => {
  const { engine } = socket.io;
  if (transports.includes(",") && engine.transport.name === "polling") await once(engine, "upgrade");
  tell("carried", { by: engine.transport.name, extensions: engine.transport.ws?.extensions ?? "" });
  const bytes = Uint8Array.from([0, 1, 254, 255]);
  const ack = socket.emitWithAck("nosuch", bytes, { deep: [bytes.buffer, "x".repeat(20_000)] });
  tell("ack", await ack.catch((error) => ({ lost: error.message })));
};

const come = {
  refused: () => tell("connected", null),
  returns: (ready) => {
    tell("ready", ready);
    if (come.before) end();
    come.before = true;
  },
  life: async (ready) => {
    tell("ready", ready);
    await carry();
  },
  durable: (ready) => tell("ready", ready),
  session: async (ready) => {
    tell("ready", ready);
    tell("join", await socket.emitWithAck("join", room));
  },
};
socket.on("ready", come[what]);
let count = 0;
socket.on("push", async (push, answer) => {
  if (what === "durable") {
    tell("push", push);
    answer();
    count += 1;
    if (count === Number(room)) socket.emit("ack", { [push.key]: push.offset }, (acked) => (tell("acked", acked), end()));
    return;
  }
  if (what === "life") {
    tell("push", push.msg);
    if (come.before) return end();
    come.before = true;
    return socket.io.engine.write("nonsense");
  }
  tell("push", { push, transport: socket.io.engine.transport.name });
  tell("leave", await socket.emitWithAck("leave", room));
  end();
});
socket.on("disconnect", (reason) => tell("disconnect", reason));
