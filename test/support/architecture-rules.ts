// The house's import rules, checked on parsed sources.
import { builtinModules } from "node:module";
import { dirname, join, normalize } from "node:path/posix";
import ts from "typescript";

/** A source file by its path from the repository's root, with forward slashes. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** What a workspace's package.json lists. */
interface Manifest {
  readonly workspace: string;
  readonly dependencies: readonly string[];
}

/** The packages, by the folder each lives in. */
export const WORKSPACES = ["proto", "fhe", "server", "client", "face", "cli"] as const;
/** Folders of development alone, which no package is made of. */
export const WORKSHOPS = ["bench", "demo", "scripts", "test"] as const;
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  proto: [],
  fhe: [],
  server: ["@veilface/proto", "@veilface/fhe"],
  client: ["@veilface/proto", "@veilface/fhe"],
  face: [],
  cli: ["@veilface/client", "@veilface/face"],
};

interface Confinement {
  readonly what: string;
  /** Files that the rule is about. */
  readonly within: RegExp;
  /** Names of packages, or paths from the root of what is imported by its path. */
  readonly imports: RegExp;
  /** Files that may all the same. */
  readonly allowed: RegExp;
}

const NOTHING = /(?!)/;
const PACKAGES = /^(proto|fhe|server|client|face|cli)\//;
const GRPC = /^(nice-grpc|@grpc\/|grpc)/;
const CONFINEMENTS: readonly Confinement[] = [
  {
    what: "fhe knows neither gRPC nor files",
    within: /^fhe\//,
    imports: /^(nice-grpc|@grpc\/|@bufbuild\/|node:fs|fs$|fs\/)/,
    allowed: NOTHING,
  },
  {
    what: "only the face pipeline knows images and models",
    within: PACKAGES,
    imports: /^(sharp|onnxruntime)/,
    allowed: /^face\//,
  },
  {
    what: "ONNX Runtime is loaded where its telemetry is off",
    within: /^face\//,
    imports: /^onnxruntime/,
    allowed: /^face\/session\.ts$/,
  },
  {
    what: "only the store's LMDB folder knows LMDB",
    within: PACKAGES,
    imports: /^lmdb/,
    allowed: /^server\/store\/lmdb\//,
  },
  {
    what: "only rpc/ and the wiring know gRPC",
    within: /^server\//,
    imports: GRPC,
    allowed: /^server\/(rpc\/[a-z-]+|server)\.ts$/,
  },
  { what: "only remote/ knows gRPC", within: /^(client|cli|face)\//, imports: GRPC, allowed: /^client\/remote\// },
  {
    what: "the store knows neither gRPC nor the wire",
    within: /^server\/store\//,
    imports: /^(nice-grpc|@grpc\/|@veilface\/proto)/,
    allowed: NOTHING,
  },
  {
    what: "compute knows TenSEAL's messages, not the wire",
    within: /^server\/compute\//,
    imports: /^@veilface\/proto/,
    allowed: /^server\/compute\/(secrets|pairwise\/tenseal)\.ts$/,
  },
  { what: "the server computes without SEAL's own API", within: /^server\//, imports: /^node-seal/, allowed: NOTHING },
  {
    what: "the road goes from rpc/ to requests/ to compute/ to store/",
    within: /^server\/requests\//,
    imports: /^server\/rpc\//,
    allowed: NOTHING,
  },
  {
    what: "the road goes from rpc/ to requests/ to compute/ to store/",
    within: /^server\/compute\//,
    imports: /^server\/(rpc|requests)\//,
    allowed: NOTHING,
  },
  {
    what: "the road goes from rpc/ to requests/ to compute/ to store/",
    within: /^server\/store\//,
    imports: /^server\/(rpc|requests|compute)\//,
    allowed: NOTHING,
  },
  {
    what: "the schemes do not know each other",
    within: /^fhe\/packed\//,
    imports: /^fhe\/pairwise\//,
    allowed: NOTHING,
  },
  {
    what: "the schemes do not know each other",
    within: /^fhe\/pairwise\//,
    imports: /^fhe\/packed\//,
    allowed: NOTHING,
  },
  {
    what: "the schemes do not know each other",
    within: /^server\/compute\/packed\//,
    imports: /^server\/compute\/pairwise\//,
    allowed: NOTHING,
  },
  {
    what: "the schemes do not know each other",
    within: /^server\/compute\/pairwise\//,
    imports: /^server\/compute\/packed\//,
    allowed: NOTHING,
  },
  { what: "nothing but tests needs test/", within: /^(?!test\/)/, imports: /^test\//, allowed: NOTHING },
];

interface Secrecy {
  readonly within: RegExp;
  readonly names: RegExp;
  readonly allowed: RegExp;
}

const SECRETS = /\b(SecretKey|KeyGenerator|Decryptor|loadSealForKeyHolder)\b/;
// Comments count too: what is never named is easily searched for.
const SECRET_NAMES: readonly Secrecy[] = [
  { within: /^(server|proto)\//, names: SECRETS, allowed: NOTHING },
  { within: /^(client|cli|face)\//, names: SECRETS, allowed: /^client\/keys\// },
  { within: /^fhe\//, names: /\b(SecretKey|KeyGenerator|Decryptor)\b/, allowed: /^fhe\/seal\/seal\.ts$/ },
];

/** Every breach of the rules, as a sentence that names the file. */
export function architectureBreaches(sources: readonly Source[], manifests: readonly Manifest[]): string[] {
  return [...sources.flatMap(breachesOf), ...manifests.flatMap((manifest) => manifestBreaches(manifest, sources))];
}

/** Everything that a source imports: statically, dynamically, as types, by require, or by resolving a name. */
export function importsOf({ path, text }: Source): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) found.push(specifier.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true));
  return found;
}

function specifierOf(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier;
  if (ts.isImportTypeNode(node)) return ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
  if (ts.isExternalModuleReference(node)) return node.expression;
  if (!ts.isCallExpression(node)) return undefined;
  const callee = node.expression;
  if (callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === "require"))
    return node.arguments[0];
  return isModuleResolve(callee) ? node.arguments[0] : undefined;
}

// import.meta.resolve(...) and require.resolve(...), also on a require made by createRequire; not path.resolve and
// Promise.resolve.
function isModuleResolve(callee: ts.Expression): boolean {
  return (
    ts.isPropertyAccessExpression(callee) &&
    callee.name.text === "resolve" &&
    /^(import\.meta|require|createRequire\(.*\))$/s.test(callee.expression.getText())
  );
}

function breachesOf(source: Source): string[] {
  const imports = importsOf(source);
  return [...imports.flatMap((specifier) => importBreaches(source.path, specifier)), ...secrecyBreaches(source)];
}

function importBreaches(path: string, specifier: string): string[] {
  const workspace = path.split("/")[0]!;
  if (specifier.startsWith(".")) {
    const target = normalize(join(dirname(path), specifier));
    const isWorkshop = (WORKSHOPS as readonly string[]).includes(workspace);
    const isOutside = !isWorkshop && !target.startsWith(`${workspace}/`);
    const outside = isOutside ? [`${path} reaches into another package by its path: ${specifier}`] : [];
    return [...outside, ...confinementBreaches(path, target)];
  }
  if (specifier.startsWith("/") || specifier.startsWith("file:")) return [`${path} imports an absolute path`];
  return [...directionBreaches(path, specifier), ...confinementBreaches(path, specifier)];
}

function directionBreaches(path: string, specifier: string): string[] {
  const mayImport = MAY_IMPORT[path.split("/")[0]!];
  const sibling = /^(@veilface\/[a-z]+|veilface$)/.exec(specifier)?.[0];
  if (mayImport === undefined || sibling === undefined || mayImport.includes(sibling)) return [];
  return [`${path} imports ${specifier}: proto and fhe are below server and client, and those and face below cli`];
}

/** `imported`: a package's name, or a path from the root. */
function confinementBreaches(path: string, imported: string): string[] {
  const confined = CONFINEMENTS.filter(
    ({ within, imports, allowed }) => within.test(path) && imports.test(imported) && !allowed.test(path),
  );
  return confined.map(({ what }) => `${path} imports ${imported}: ${what}`);
}

function secrecyBreaches({ path, text }: Source): string[] {
  return SECRET_NAMES.flatMap(({ within, names, allowed }) => {
    const named = within.test(path) && !allowed.test(path) ? names.exec(text) : null;
    return named === null ? [] : [`${path} names ${named[0]}: only the key holder may`];
  });
}

function manifestBreaches({ workspace, dependencies }: Manifest, sources: readonly Source[]): string[] {
  const imported = new Set(
    sources
      .filter(({ path }) => path.startsWith(`${workspace}/`))
      .flatMap(importsOf)
      .flatMap(packageOf),
  );
  const listed = new Set(dependencies);
  return [
    ...[...imported.difference(listed)].map(
      (name) => `${workspace}/package.json does not list ${name}, which ${workspace} imports`,
    ),
    ...[...listed.difference(imported)].map(
      (name) => `${workspace}/package.json lists ${name}, which ${workspace} does not import`,
    ),
  ];
}

function packageOf(specifier: string): string[] {
  if (specifier.startsWith(".") || specifier.startsWith("node:") || builtinModules.includes(specifier)) return [];
  return [
    specifier
      .split("/")
      .slice(0, specifier.startsWith("@") ? 2 : 1)
      .join("/"),
  ];
}
