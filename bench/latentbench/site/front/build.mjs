// Bundles src/ into one script and one style in ../built (or the folder that is named), each headed by a digest of what it is
// made of. The digest is what a test without Node compares; `make site-check` builds again and compares every byte.
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, readdirSync, writeFileSync, mkdirSync } from "node:fs";
import { build } from "esbuild";

const here = new URL(".", import.meta.url);
const out = process.argv[2] ?? new URL("../built/", here).pathname;
const names = ["build.mjs", "index.html", "rate.html", "package-lock.json", "package.json", "tsconfig.json"];
names.push(...readdirSync(new URL("src/", here)).map((name) => `src/${name}`));
const hash = createHash("sha256");
for (const name of names.sort()) hash.update(`${name}\n`).update(readFileSync(new URL(name, here))).update("\n");
const head = `/* latentbench site, sources sha256:${hash.digest("hex")} */`;
const { outputFiles } = await build({
  entryPoints: { app: new URL("src/main.tsx", here).pathname, rate: new URL("src/rate.tsx", here).pathname },
  absWorkingDir: new URL(".", here).pathname,
  outdir: out, bundle: true, minify: true, write: false, format: "iife", target: ["es2022"], charset: "ascii",
  jsx: "automatic", jsxImportSource: "preact", legalComments: "none", banner: { js: head, css: head },
});
mkdirSync(out, { recursive: true });
for (const page of ["index.html", "rate.html"]) copyFileSync(new URL(page, here), `${out}/${page}`);
for (const file of outputFiles) writeFileSync(file.path, file.contents);
