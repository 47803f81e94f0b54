// Builds dist/: index.js (an ES module, socket.io-client left outside), client.js (for a script tag: everything in it,
// the global `cloudpush`), or, with --test, the tests. Prints how big our own code is.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const manifest = createRequire(import.meta.url);
const options = { bundle: true, target: "es2022", logLevel: "warning", charset: "utf8", legalComments: "none" };

/** Bytes that our own code may have, minified and gzipped. */
export const LIMIT = 5_000;

/** Our own code as bytes, minified. */
export async function ownCode() {
  const result = await build({
    ...options,
    entryPoints: [join(here, "src", "index.ts")],
    format: "esm",
    minify: true,
    packages: "external",
    write: false,
  });
  return result.outputFiles[0].contents;
}

/** The script-tag build, into *outfile*; *licences*: where the licence of what is inside can be read. */
export async function buildScript(outfile, licences) {
  const { version } = manifest("./package.json");
  const { version: socketio } = manifest("socket.io-client/package.json");
  await build({
    ...options,
    entryPoints: [join(here, "src", "index.ts")],
    outfile,
    format: "iife",
    globalName: "cloudpush",
    minify: true,
    banner: { js: `/* @cloudpush/client ${version}, Apache-2.0. Inside: socket.io-client ${socketio}, MIT; see ${licences} */` },
  });
}

async function buildPackage() {
  await mkdir(dist, { recursive: true });
  const own = await ownCode();
  await writeFile(join(dist, "index.js"), own);
  await buildScript(join(dist, "client.js"), "client.js.LICENSE.txt");
  const licence = join(dirname(manifest.resolve("socket.io-client/package.json")), "LICENSE");
  await writeFile(join(dist, "client.js.LICENSE.txt"), await readFile(licence));
  await copyFile(join(here, "..", "..", "LICENSE"), join(dist, "LICENSE"));
  const script = await readFile(join(dist, "client.js"));
  console.log(
    `@cloudpush/client: ${gzipSync(own).length} bytes gzipped of our own, ${own.length} before; ` +
      `${gzipSync(script).length} with socket.io-client`,
  );
}

async function buildTests() {
  const files = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...options,
    stdin: { contents: files.map((name) => `import "./${name}";`).join("\n"), resolveDir: join(here, "test") },
    outfile: join(dist, "test", "all.test.mjs"),
    format: "esm",
    platform: "node",
    target: "node18",
    packages: "external",
    sourcemap: "inline",
  });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await (process.argv.includes("--test") ? buildTests() : buildPackage());
}
