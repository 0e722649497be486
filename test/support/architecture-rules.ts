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
export interface Manifest {
  readonly workspace: string;
  readonly dependencies: readonly string[];
}

/** The packages, by the folder each lives in. */
export const WORKSPACES = ["proto", "fhe", "server", "client"] as const;
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  proto: [],
  fhe: [],
  server: ["@veilface/proto", "@veilface/fhe"],
  client: ["@veilface/proto", "@veilface/fhe"],
};

interface Confinement {
  readonly what: string;
  /** Files that the rule is about. */
  readonly within: RegExp;
  readonly imports: RegExp;
  /** Files that may all the same. */
  readonly allowed: RegExp;
}

const NOTHING = /(?!)/;
const GRPC = /^(nice-grpc|@grpc\/|grpc)/;
const CONFINEMENTS: readonly Confinement[] = [
  { what: "fhe knows neither gRPC nor files", within: /^fhe\//, imports: /^(nice-grpc|@grpc\/|@bufbuild\/|node:fs|fs$|fs\/)/, allowed: NOTHING },
  { what: "only the face pipeline knows images and models", within: /./, imports: /^(sharp|onnxruntime)/, allowed: /^client\/face\// },
  { what: "ONNX Runtime is loaded where its telemetry is off", within: /^client\/face\//, imports: /^onnxruntime/, allowed: /^client\/face\/session\.ts$/ },
  { what: "only the store knows LMDB", within: /./, imports: /^lmdb/, allowed: /^server\/store\/(?!gallery-store\.ts)/ },
  { what: "only services, the wall and the wiring know gRPC", within: /^server\//, imports: GRPC, allowed: /^server\/(rpc\/[a-z-]+|[a-z-]+-service|wall|server|main)\.ts$/ },
  { what: "the store knows neither gRPC nor the wire", within: /^server\/store\//, imports: /^(nice-grpc|@grpc\/|@veilface\/proto)/, allowed: NOTHING },
  { what: "the server computes without SEAL's own API", within: /^server\//, imports: /^node-seal/, allowed: NOTHING },
];

interface Secrecy {
  readonly within: RegExp;
  readonly names: RegExp;
  readonly allowed: RegExp;
}

// Comments count too: what is never named is easily searched for.
const SECRET_NAMES: readonly Secrecy[] = [
  { within: /^(server|proto)\//, names: /\b(SecretKey|KeyGenerator|Decryptor|loadSealForKeyHolder)\b/, allowed: NOTHING },
  { within: /^fhe\//, names: /\b(SecretKey|KeyGenerator|Decryptor)\b/, allowed: /^fhe\/seal\.ts$/ },
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
  if (callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === "require")) return node.arguments[0];
  return isModuleResolve(callee) ? node.arguments[0] : undefined;
}

// import.meta.resolve(...) and require.resolve(...), also on a require made by createRequire; not path.resolve and Promise.resolve.
function isModuleResolve(callee: ts.Expression): boolean {
  return ts.isPropertyAccessExpression(callee) && callee.name.text === "resolve" && /^(import\.meta|require|createRequire\(.*\))$/s.test(callee.expression.getText());
}

function breachesOf(source: Source): string[] {
  const imports = importsOf(source);
  return [...imports.flatMap((specifier) => importBreaches(source.path, specifier)), ...secrecyBreaches(source)];
}

function importBreaches(path: string, specifier: string): string[] {
  const workspace = path.split("/")[0]!;
  if (specifier.startsWith(".")) {
    const target = normalize(join(dirname(path), specifier));
    return target.startsWith(`${workspace}/`) ? [] : [`${path} reaches into another package by its path: ${specifier}`];
  }
  if (specifier.startsWith("/") || specifier.startsWith("file:")) return [`${path} imports an absolute path`];
  const sibling = /^@veilface\/[a-z]+/.exec(specifier)?.[0];
  const direction = sibling === undefined || MAY_IMPORT[workspace]?.includes(sibling) === true ? [] : [`${path} imports ${specifier}: imports go proto <- server, client and fhe <- server, client`];
  const confined = CONFINEMENTS.filter(({ within, imports, allowed }) => within.test(path) && imports.test(specifier) && !allowed.test(path));
  return [...direction, ...confined.map(({ what }) => `${path} imports ${specifier}: ${what}`)];
}

function secrecyBreaches({ path, text }: Source): string[] {
  return SECRET_NAMES.flatMap(({ within, names, allowed }) => {
    const named = within.test(path) && !allowed.test(path) ? names.exec(text) : null;
    return named === null ? [] : [`${path} names ${named[0]}: only the key holder may`];
  });
}

function manifestBreaches({ workspace, dependencies }: Manifest, sources: readonly Source[]): string[] {
  const imported = new Set(sources.filter(({ path }) => path.startsWith(`${workspace}/`)).flatMap(importsOf).flatMap(packageOf));
  const listed = new Set(dependencies);
  return [
    ...[...imported.difference(listed)].map((name) => `${workspace}/package.json does not list ${name}, which ${workspace} imports`),
    ...[...listed.difference(imported)].map((name) => `${workspace}/package.json lists ${name}, which ${workspace} does not import`),
  ];
}

function packageOf(specifier: string): string[] {
  if (specifier.startsWith(".") || specifier.startsWith("node:") || builtinModules.includes(specifier)) return [];
  return [specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/")];
}
