/**
 * Makes a plugin's folder a component: what `millstream plugin build` runs for a folder with a package.json.
 *
 *     node build.js FOLDER WIT OUT
 *
 * esbuild puts the plugin, the packages that it uses and this SDK into one module; componentize-js makes a component of it.
 * Both are looked for as Node looks for packages, from the plugin's folder upwards and in NODE_PATH.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/**
 * What a build needs, in the versions that this SDK was tried with. componentize-js 0.23 imports the shim without
 * depending on it.
 */
const TOOLS = {
  "@bytecodealliance/componentize-js": "0.23.0",
  "@bytecodealliance/preview2-shim": "0.17.9",
  esbuild: "0.28.2",
};
/** The exit code that says: a tool is missing. */
const TOOL_IS_MISSING = 3;
const SDK = dirname(fileURLToPath(import.meta.url));

const [folder, wit, out] = process.argv.slice(2).map((path) => resolve(path));
const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const places = Object.fromEntries(Object.keys(TOOLS).map((name) => [name, placeOf(name)]));
const { componentize } = await load(places["@bytecodealliance/componentize-js"]);
const esbuild = await load(places.esbuild);

const work = mkdtempSync(join(tmpdir(), "millstream-build-"));
try {
  const bundle = join(work, "plugin.js");
  await esbuild.build({
    stdin: { contents: entry(), resolveDir: folder, sourcefile: "component-entry.js" },
    alias: { "millstream-sdk": join(SDK, "src/index.js") },
    external: ["millstream:*"],
    outfile: bundle,
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
  const { component } = await componentize({
    sourcePath: bundle,
    witPath: wit,
    worldName: "stage",
    disableFeatures: ["http", "fetch-event"],
  });
  writeFileSync(out, component);
} catch (error) {
  // esbuild has already said what is wrong with the source.
  if (!error.errors) console.error(error.message ?? error);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** The component's own module: the plugin's stage, bound to the host's functions. */
function entry() {
  const about = { name: manifest.name ?? "plugin", version: manifest.version ?? "0.0.0" };
  return `
    import stage from ${JSON.stringify(join(folder, manifest.main ?? "index.js"))};
    import { component } from ${JSON.stringify(join(SDK, "src/component.js"))};
    import { log } from "millstream:stage/log@0.1.0";
    import { getMany } from "millstream:stage/dimensions@0.1.0";
    export const transform = component(stage, ${JSON.stringify(about)}, { log, getMany });
  `;
}

/** The folder of an installed package. */
function placeOf(name) {
  const folders = createRequire(join(folder, "package.json")).resolve.paths(name);
  const place = folders.map((modules) => join(modules, name)).find((path) => existsSync(join(path, "package.json")));
  if (!place) {
    const wanted = Object.entries(TOOLS).map(([tool, version]) => `${tool}@${version}`).join(" ");
    console.error(`${name} is missing; in ${folder}: npm install --save-dev ${wanted}`);
    process.exit(TOOL_IS_MISSING);
  }
  return place;
}

function load(place) {
  const { exports, main } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
  return import(pathToFileURL(join(place, exports?.import ?? main)));
}
