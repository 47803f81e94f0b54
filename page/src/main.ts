// Wires the three panels together; each does its own work.
import { Api } from "./api.js";
import { ConnectPanel } from "./connect.js";
import { el } from "./dom.js";
import { MessageList } from "./messages.js";
import { SendPanel } from "./send.js";

const api = new Api();
const messages = new MessageList();
const send = new SendPanel(api, { sent: (pushId, at) => messages.sent(pushId, at) });
const connect = new ConnectPanel(api, {
  push: (push, at) => messages.add(push, at),
  connected: (key) => send.suggestTarget(key),
  notice: (text, tone) => messages.note(text, tone),
});
el("api-key").addEventListener("change", () => void connect.refreshNodes());
void connect.refreshNodes();
