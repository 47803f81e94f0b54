// What the fields of the page mean: text → values, values → the body of a push. Pure; touches no document.
import type { Gap, Ready } from "../../clients/js/src/index.js";

export type TargetKind = "keys" | "mids" | "rooms" | "all";

export interface PushForm {
  kind: TargetKind;
  targets: string;
  op: string;
  priority: string;
  ttlS: string;
  delayS: string;
  durable: boolean;
  trace: boolean;
  requestId: string;
  server: string;
  msg: string;
}

/** A field's name as the API spells it → what is wrong with it. */
export type FieldErrors = Map<string, string>;

/** Splits at commas and line breaks; trims; drops the empty and the repeated. */
export function splitList(text: string): string[] {
  return [...new Set(text.split(/[,\n]/).map((part) => part.trim()).filter(Boolean))];
}

/** Reads a list of ops, or says which part is not one. */
export function parseOps(text: string): { ops: number[] } | { error: string } {
  const parts = splitList(text.replaceAll(" ", ","));
  const stranger = parts.find((part) => parseInteger(part) === null);
  return stranger === undefined ? { ops: parts.map(Number) } : { error: `“${stranger}” is not a whole number` };
}

function parseInteger(text: string): number | null {
  return /^-?\d{1,10}$/.test(text.trim()) ? Number(text) : null;
}

/** Says why *text* is not JSON, or null when it is. */
export function jsonFlaw(text: string): string | null {
  if (!text.trim()) return "Write a message: any JSON value";
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    // V8 repeats the text itself after the reason; the user is looking at it already.
    return String(error instanceof Error ? error.message : error).replace(/, (\.\.\.)?".*$/s, "");
  }
}

export function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}

/**
 * Makes the JSON body of POST /v1/pushes. The message goes in exactly as typed: read and written again it would lose
 * what JavaScript's numbers cannot hold.
 */
export function pushBody(form: PushForm): { body: string } | { errors: FieldErrors } {
  const errors: FieldErrors = new Map();
  const parts: Record<string, unknown> = {};
  const targets = splitList(form.targets);
  if (form.kind === "all") parts["all"] = true;
  else if (targets.length) parts[form.kind] = targets;
  else errors.set(form.kind, "Name at least one");

  const op = parseInteger(form.op);
  if (op === null) errors.set("op", "A whole number");
  else parts["op"] = op;

  parts["priority"] = form.priority;
  for (const [field, text] of [["ttl_s", form.ttlS], ["delay_s", form.delayS]] as const) {
    if (!text.trim()) continue;
    const seconds = Number(text);
    if (!Number.isFinite(seconds) || seconds <= 0) errors.set(field, "Seconds, more than 0");
    else parts[field] = seconds;
  }
  if (form.durable) parts["durable"] = true;
  if (form.trace) parts["trace"] = true;
  if (form.requestId.trim()) parts["request_id"] = form.requestId.trim();
  if (form.server.trim()) parts["server"] = form.server.trim();

  const flaw = jsonFlaw(form.msg);
  if (flaw) errors.set("msg", flaw);
  if (errors.size) return { errors };
  return { body: `${JSON.stringify(parts).slice(0, -1)},"msg":${form.msg.trim()}}` };
}

/** `keys[3].x` → `keys`: the control that an error of the API belongs to. */
export function rootField(path: string): string {
  return /^[^.[]*/.exec(path)?.[0] ?? path;
}

/** Characters of one message that the page shows. */
export const SHOWN = 4_000;

/** A message for people to read; a long one is cut, and says so. */
export function pretty(value: unknown): string {
  const text = JSON.stringify(value, null, 2) ?? String(value);
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}\n… ${text.length - SHOWN} more characters`;
}

/** What a session that resumed has to say, or nothing when it was a first one; what was lost is for gapNotice. */
export function readyNotice({ recovered }: Ready): string {
  const whole = Object.keys(recovered).filter((key) => recovered[key]);
  return whole.length ? `Resumed: nothing was missed of ${whole.join(", ")}` : "";
}

export function gapNotice({ key, reason, offset }: Gap): string {
  const why = reason === "epoch" ? "the store has lost them" : "they are not stored any more";
  return `Durable messages of ${key} were missed, ${why}; it goes on after offset ${offset}`;
}
