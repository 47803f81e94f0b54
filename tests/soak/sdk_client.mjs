// Our SDK as a page uses it, with a spy on its socket: what comes over the wire is told, and acks can get lost there.
// Tabs with an odd id are told a node by REST, the others choose one; one in four has handlers that take a while.
import { createRequire } from "node:module";
import { connect } from "../../clients/js/dist/index.js";

const { io } = createRequire(new URL("../../clients/js/package.json", import.meta.url))("socket.io-client");

const HANDLER_MS = 5;
const BACKOFF = { minMs: 100, maxMs: 1000, jitter: 0.5 };

export class Client {
  #client;
  #socket;
  #gone = false;

  constructor({ id, identity, rest, nodes, random, losesAcks, storage }, tell) {
    const here = () => !this.#gone;
    const dial = (url, options) => {
      const socket = (this.#socket = io(url, options));
      socket.on("push", (push) => here() && tell.wire(push));
      const { emit } = socket;
      socket.emit = (event, ...rest) => (here() && !(event === "ack" && losesAcks()) ? emit.call(socket, event, ...rest) : socket);
      return socket;
    };
    this.#client = connect(
      {
        ...(id % 2 ? { rest } : { url: () => nodes[Math.floor(random() * nodes.length)], backoff: BACKOFF }),
        ...identity,
        storage: { ...storage, setItem: (name, text) => here() && storage.setItem(name, text) },
        deadlineMs: 3000,
        socket: { transports: ["websocket"] },
      },
      dial,
    );
    this.#client.on("push", async (push) => {
      if (id % 4 === 3) await new Promise((done) => setTimeout(done, random() * HANDLER_MS));
      // A page that is gone in the middle of its handler has not handled the message.
      if (here()) tell.handled(push);
    });
    this.#client.on("gap", ({ reason, epoch, offset }) => tell.gap(`gap: ${reason}, goes on after ${epoch} ${offset}`));
    this.#client.on("state", ({ state, reason }) => state === "closed" && here() && tell.error(`closed: ${reason}`));
    this.#client.on("error", (error) => here() && tell.error(`${error.code}: ${error.message}`));
  }

  get isReady() {
    return this.#client.status.state === "connected";
  }

  get status() {
    return JSON.stringify(this.#client.status);
  }

  // The connection breaks; the client must notice and come back.
  cut() {
    this.#socket?.io.engine?.transport?.ws?.terminate();
  }

  // Without goodbye: what the client still wants to send or to store does not happen.
  destroy() {
    this.#gone = true;
    this.cut();
    this.#client.close();
  }
}
