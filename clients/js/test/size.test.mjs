import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { LIMIT, ownCode } from "../build.mjs";

test(`our own code is at most ${LIMIT} bytes, minified and gzipped`, async () => {
  const bytes = gzipSync(await ownCode()).length;
  assert.ok(bytes <= LIMIT, `${bytes} bytes`);
});
