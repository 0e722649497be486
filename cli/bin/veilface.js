#!/usr/bin/env node
// Plain JavaScript that any Node can parse, so that an old one gets a clear line rather than a syntax error.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [major, minor] = process.versions.node.split(".").map(Number);
const source = fileURLToPath(new URL("../main.ts", import.meta.url));

if (major < 22 || (major === 22 && minor < 15)) {
  process.stderr.write(
    `veilface needs Node 22.15 or newer and this is ${process.versions.node}: install a newer one, or run it as "npx veilface" in a checkout\n`,
  );
  process.exitCode = 2;
} else if (existsSync(source)) {
  runSource();
} else {
  await import("../dist/main.js");
}

// In a checkout the TypeScript itself runs, for which Node needs a condition on its command line.
function runSource() {
  const args = ["--conditions=source", "--disable-warning=ExperimentalWarning", source, ...process.argv.slice(2)];
  if (process.platform !== "win32") {
    process.removeAllListeners("warning");
    process.execve(process.execPath, [process.execPath, ...args]);
  }
  process.exitCode = spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 2;
}
