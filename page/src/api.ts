// The REST API as this page uses it. Every call has a deadline; every failure is a Problem, whatever it began as.
// Refuses to trust shapes: what the page needs of an answer is checked here, once.

const DEADLINE_MS = 10_000;

export interface NodeInfo {
  node: string;
  url: string;
  sessions: number;
  draining: boolean;
}

/** How long to wait before connecting again: from `minMs` up to `maxMs`, each time ± the share `jitter`. */
export interface Backoff {
  minMs: number;
  maxMs: number;
  jitter: number;
}

export interface BestNode {
  node: string;
  url: string;
  backoff: Backoff | null;
}

export interface Accepted {
  pushId: string;
  href: string;
}

/** A refusal of the API (RFC 9457), or the reason why there was no answer; then *status* is 0. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly errors: { field: string; message: string }[] = [],
    readonly retryAfter: string | null = null,
  ) {
    super(message);
  }
}

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null;
const text = (value: unknown): string => (typeof value === "string" ? value : "");

export class Api {
  /** Sent as a bearer token when not empty; kept in memory only. */
  apiKey = "";

  async nodes(): Promise<NodeInfo[]> {
    const answer = await this.#call("GET", "/v1/nodes");
    const list = Array.isArray(answer) ? answer : isObject(answer) ? answer["nodes"] : null;
    if (!Array.isArray(list)) throw new Problem(0, "GET /v1/nodes answered no list of nodes");
    return list.filter(isObject).map((each) => ({
      node: text(each["node"]),
      url: text(each["url"]),
      sessions: Number(each["sessions"] ?? 0),
      draining: each["draining"] === true,
    }));
  }

  async best(): Promise<BestNode> {
    const answer = await this.#call("GET", "/v1/nodes/best");
    if (!isObject(answer) || !text(answer["url"])) throw new Problem(0, "GET /v1/nodes/best named no node");
    const { min_ms: minMs, max_ms: maxMs, jitter } = isObject(answer["backoff"]) ? answer["backoff"] : {};
    const told = typeof minMs === "number" && typeof maxMs === "number" && typeof jitter === "number";
    return {
      node: text(answer["node"]),
      url: text(answer["url"]),
      backoff: told ? { minMs, maxMs, jitter } : null,
    };
  }

  /** Sends *body*, JSON that is ready. A Problem with status 0 leaves open whether the push was accepted. */
  async push(body: string): Promise<Accepted> {
    const answer = await this.#call("POST", "/v1/pushes", body);
    if (!isObject(answer) || !text(answer["push_id"])) throw new Problem(0, "POST /v1/pushes named no push_id");
    return { pushId: text(answer["push_id"]), href: text(answer["href"]) };
  }

  async #call(method: string, path: string, body: string | null = null): Promise<unknown> {
    const headers: Record<string, string> = { Accept: "application/json, application/problem+json" };
    if (body !== null) headers["Content-Type"] = "application/json";
    if (this.apiKey) headers["Authorization"] = `Bearer ${this.apiKey}`;
    let response: Response;
    let content: string;
    try {
      response = await fetch(path, { method, headers, body, signal: AbortSignal.timeout(DEADLINE_MS) });
      content = await response.text();
    } catch (error) {
      const slow = error instanceof DOMException && error.name === "TimeoutError";
      const why = slow ? `no answer within ${DEADLINE_MS / 1000} s` : error instanceof Error ? error.message : "";
      throw new Problem(0, `The API cannot be reached: ${why}`);
    }
    const answer = parse(content);
    if (!response.ok) throw problemOf(response, answer);
    return answer;
  }
}

function parse(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return null; // a proxy's HTML page, say; each caller refuses what it cannot use
  }
}

function problemOf(response: Response, answer: unknown): Problem {
  const problem = isObject(answer) ? answer : {};
  const listed = problem["errors"];
  const errors = (Array.isArray(listed) ? listed : [])
    .filter(isObject)
    .map((each) => ({ field: text(each["field"]), message: text(each["message"]) }));
  const said = [text(problem["title"]), text(problem["detail"])].filter(Boolean).join(": ");
  return new Problem(response.status, said || response.statusText, errors, response.headers.get("Retry-After"));
}
