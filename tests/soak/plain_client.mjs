// Socket.IO's own client: what a page without our SDK would write.  It answers each push with the Socket.IO ack when its
// handler is done, gives no cursor (the server knows what was acked), and connects to any of the nodes.  With `dedupes` it
// remembers the offset it has handled, since acks can get lost; otherwise what it is given is what the app sees.
import { createRequire } from "node:module";

const { io } = createRequire(new URL("../../clients/js/package.json", import.meta.url))("socket.io-client");

const PAUSE_MS = [50, 500];

export class Client {
  isReady = false;
  #dead = false;
  #socket;
  #options;
  #tell;
  #cursors;

  constructor(options, tell) {
    this.#options = options;
    this.#tell = tell;
    this.#cursors = JSON.parse(options.storage.getItem("cursors") ?? "{}");
    this.#connect();
  }

  cut() {
    this.#socket.io.engine?.transport?.ws?.terminate();
  }

  destroy() {
    this.#dead = true;
    this.cut();
    this.#socket.removeAllListeners();
    this.#socket.disconnect();
  }

  #connect() {
    if (this.#dead) return;
    const { identity, nodes, random } = this.#options;
    const socket = io(nodes[Math.floor(random() * nodes.length)], {
      auth: identity,
      transports: ["websocket"],
      reconnection: false,
      forceNew: true,
      timeout: 2000,
    });
    const again = () => {
      if (this.#socket !== socket) return;
      this.isReady = false;
      socket.removeAllListeners();
      this.#socket.close();
      this.#socket = { io: {}, removeAllListeners() {}, disconnect() {} };
      setTimeout(() => this.#connect(), PAUSE_MS[0] + random() * (PAUSE_MS[1] - PAUSE_MS[0]));
    };
    socket.on("connect_error", again);
    socket.on("disconnect", again);
    socket.on("ready", (ready) => this.#ready(ready));
    socket.on("push", (push, answer) => this.#push(push, answer));
    socket.on("gap", (gap) => this.#gap(gap));
    this.#socket = socket;
  }

  #ready({ recovered = {} }) {
    this.isReady = true;
    for (const [key, whole] of Object.entries(recovered)) if (!whole) this.#tell.gap(`recovered: false for ${key}`);
  }

  #gap({ key, epoch, offset, reason }) {
    this.#tell.gap(`gap: ${reason} for ${key}, goes on after ${epoch} ${offset}`);
  }

  #push(push, answer) {
    this.#tell.wire(push);
    const { key, epoch, offset } = push;
    const seen = this.#cursors[key];
    const isOld = this.#options.dedupes && seen?.epoch === epoch && offset <= seen.offset;
    if (!isOld) {
      this.#tell.handled(push);
      if (offset) this.#keep(key, { epoch, offset });
    }
    if (answer && !this.#options.losesAcks()) answer();
  }

  #keep(key, place) {
    this.#cursors[key] = place;
    this.#options.storage.setItem("cursors", JSON.stringify(this.#cursors));
  }
}
