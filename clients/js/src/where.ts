// Which node to connect to, and how long to wait before trying again.
import { CloudpushError, type Backoff, type Options, type Where } from "./types.js";

export const BACKOFF: Backoff = { minMs: 500, maxMs: 10_000, jitter: 0.5 };

/** Names a node, by `url` or by GET /v1/nodes/best; rejects when nobody can, or not before *deadlineMs*. */
export async function findNode({ url, rest = "" }: Options, deadlineMs: number): Promise<Where> {
  if (url !== undefined) {
    const named = typeof url === "function" ? await url() : url;
    return typeof named === "string" ? { url: named } : named;
  }
  const path = `${rest.replace(/\/+$/, "")}/v1/nodes/best`;
  const response = await fetch(path, { signal: AbortSignal.timeout(deadlineMs) });
  const best = response.ok ? await response.json() : {};
  if (typeof best.url !== "string") throw new CloudpushError("rest", `${path} named no node: status ${response.status}`);
  const { min_ms: minMs, max_ms: maxMs, jitter } = best.backoff ?? {};
  return { url: best.url, backoff: [minMs, maxMs, jitter].every(Number.isFinite) ? { minMs, maxMs, jitter } : null };
}

/** Ms before the attempt after *failures* in a row; *random* is from 0 to 1. */
export function delayMs({ minMs, maxMs, jitter }: Backoff, failures: number, random: number): number {
  return Math.min(maxMs, minMs * 2 ** (failures - 1)) * (1 + jitter * (2 * random - 1));
}
