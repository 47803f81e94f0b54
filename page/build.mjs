// Builds app/static/ from src/, the browser client and npm packages. Writes dist/static first and swaps it in whole, so
// that a failed build leaves the old page as it was. Every asset's name carries a digest of its content: caches may keep
// it forever. client.js, which others' pages name, keeps its name and is asked for again.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildScript } from "../clients/js/build.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const staging = join(here, "dist", "static");
const target = join(here, "..", "app", "static");
const packageFolder = (name) => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));

const options = { bundle: true, format: "esm", target: "es2022", logLevel: "warning", charset: "utf8" };

async function bundlePages() {
  const entries = ["main.ts", "docs.ts", "page.css", "docs.css"];
  const result = await build({
    ...options,
    entryPoints: entries.map((name) => join(here, "src", name)),
    outdir: join(staging, "assets"),
    entryNames: "[name]-[hash]",
    minify: true,
    metafile: true,
    absWorkingDir: here,
  });
  const names = new Map();
  for (const [output, { entryPoint }] of Object.entries(result.metafile.outputs)) {
    if (entryPoint) names.set(basename(entryPoint), basename(output));
  }
  return names;
}

async function copyHashed(path) {
  const content = await readFile(path);
  const digest = createHash("sha256").update(content).digest("hex").slice(0, 8);
  const suffix = extname(path);
  const name = `${basename(path, suffix)}-${digest}${suffix}`;
  await writeFile(join(staging, "assets", name), content);
  return name;
}

async function writeLicences() {
  const swagger = packageFolder("swagger-ui-dist");
  const texts = [
    ["socket.io-client", join(packageFolder("socket.io-client"), "LICENSE")],
    ["swagger-ui", join(swagger, "LICENSE")],
    ["swagger-ui, notice", join(swagger, "NOTICE")],
    ["inside swagger-ui-bundle.js", join(swagger, "swagger-ui-bundle.js.LICENSE.txt")],
  ];
  const parts = await Promise.all(texts.map(async ([name, path]) => `== ${name}\n\n${await readFile(path, "utf8")}`));
  await writeFile(join(staging, "assets", "licences.txt"), parts.join("\n\n"));
}

async function fillTemplates(names) {
  for (const page of ["index.html", "docs.html"]) {
    const template = await readFile(join(here, "src", page), "utf8");
    const html = template.replaceAll(/\{\{(.+?)\}\}/g, (_, name) => {
      if (!names.has(name)) throw new Error(`${page} names an asset that the build does not make: ${name}`);
      return `/assets/${names.get(name)}`;
    });
    await writeFile(join(staging, page), html);
  }
}

async function buildPages() {
  await rm(staging, { recursive: true, force: true });
  await mkdir(join(staging, "assets"), { recursive: true });
  const names = await bundlePages();
  const swagger = packageFolder("swagger-ui-dist");
  for (const path of [
    join(swagger, "swagger-ui.css"),
    join(swagger, "swagger-ui-bundle.js"),
    join(here, "src", "favicon.svg"),
  ]) {
    names.set(basename(path), await copyHashed(path));
  }
  await buildScript(join(staging, "client.js"), "/assets/licences.txt");
  await writeLicences();
  await fillTemplates(names);
  await rm(target, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  await rename(staging, target);
}

async function buildTests() {
  const files = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...options,
    stdin: { contents: files.map((name) => `import "./${name}";`).join("\n"), resolveDir: join(here, "test") },
    outfile: join(here, "dist", "test", "all.test.mjs"),
    platform: "node",
    target: "node18",
    sourcemap: "inline",
  });
}

await (process.argv.includes("--test") ? buildTests() : buildPages());
