// Holds the docstrings of the packages: npm run lint.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { dialectProblems, publicProblems } from "./docstrings/problems.ts";
import { isHandwritten } from "./docstrings/public-names.ts";

const ROOT = join(import.meta.dirname, "..");

interface Manifest {
  readonly workspaces: readonly string[];
  readonly exports?: Readonly<Record<string, { readonly source?: string }>>;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, folder, "package.json"), "utf8")) as Manifest;
}

/** The modules that users of a package can import. */
function entriesOf(workspace: string): string[] {
  const { exports = {} } = manifestOf(workspace);
  const sources = Object.values(exports).flatMap(({ source }) => source ?? []);
  return sources.map((source) => join(ROOT, workspace, source));
}

function programOf(workspaces: readonly string[]): ts.Program {
  const { config } = ts.readConfigFile(join(ROOT, "tsconfig.json"), (path) => ts.sys.readFile(path)) as {
    config: { include: readonly string[] };
  };
  const { options, fileNames } = ts.parseJsonConfigFileContent({ ...config, include: workspaces }, ts.sys, ROOT);
  return ts.createProgram(fileNames, options);
}

const { workspaces } = manifestOf(".");
const program = programOf(workspaces);
const files = program.getSourceFiles().filter(isHandwritten);
const problems = [
  ...files.flatMap((file) => dialectProblems(program.getTypeChecker(), file)),
  ...workspaces.flatMap((workspace) => publicProblems(program, entriesOf(workspace))),
];
for (const problem of new Set(problems)) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
