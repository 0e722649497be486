import { relative } from "node:path";
import ts from "typescript";
import { brokenLinks, dialectProblem, docstringsIn, docstringsOf, isRestatement } from "./docstrings.ts";
import { behindAliases, isOurs, publicNames, visitSurface } from "./public-names.ts";
import type { PublicName } from "./public-names.ts";

interface Mention {
  readonly type: ts.Symbol;
  readonly at: ts.Node;
}

/**
 * What is wrong with the public names of one package, of which `entries` are the modules that its users can import: a
 * name or member without a docstring, or with one that repeats the name; a type that a signature mentions and that
 * no entry gives.
 */
export function publicProblems(program: ts.Program, entries: readonly string[]): string[] {
  const checker = program.getTypeChecker();
  const { names, symbols } = publicNames(program, entries);
  const unexported = names
    .flatMap(({ declaration }) => mentionsOf(checker, declaration))
    .filter(({ type }) => !symbols.has(type))
    .map(({ type, at }) => `${placeOf(at)}: a public name mentions ${type.name}, which no entry exports`);
  return [...new Set([...names.flatMap((name) => docstringProblems(checker, name)), ...unexported])];
}

/** What is wrong with the docstrings of a file, public or not: another dialect, a link to nothing. */
export function dialectProblems(checker: ts.TypeChecker, file: ts.SourceFile): string[] {
  return docstringsIn(file).flatMap((docstring) => {
    const broken = brokenLinks(checker, docstring).map((link) => `has ${link}, which links to nothing`);
    const problems = [dialectProblem(docstring), ...broken].filter((problem) => problem !== undefined);
    return problems.map((problem) => `${placeOf(docstring)}: the docstring ${problem}`);
  });
}

function docstringProblems(checker: ts.TypeChecker, { name, declaration }: PublicName): string[] {
  // Of overloads, and of an accessor's two halves, one says it for all.
  const named = ts.getNameOfDeclaration(declaration);
  const { declarations = [declaration] } = (named && checker.getSymbolAtLocation(named)) ?? {};
  const docstrings = declarations.flatMap(docstringsOf);
  if (docstrings.length === 0) return [`${placeOf(declaration)}: ${name} has no docstring`];
  const isEmpty = named !== undefined && isRestatement(named.getText(), docstrings);
  return isEmpty ? [`${placeOf(declaration)}: the docstring of ${name} only repeats the name`] : [];
}

/** Where a declaration mentions types of this repository by their names. */
function mentionsOf(checker: ts.TypeChecker, declaration: ts.Node): Mention[] {
  const found: Mention[] = [];
  visitSurface(declaration, (at) => {
    const name = ts.isTypeReferenceNode(at) ? at.typeName : ts.isExpressionWithTypeArguments(at) && at.expression;
    const symbol = name && checker.getSymbolAtLocation(name);
    const type = symbol && behindAliases(checker, symbol);
    const isParameter = type && (type.flags & ts.SymbolFlags.TypeParameter) !== 0;
    if (type && !isParameter && type.declarations?.every(isOurs)) found.push({ type, at });
  });
  return found;
}

function placeOf(node: ts.Node): string {
  const file = node.getSourceFile();
  const { line } = file.getLineAndCharacterOfPosition(node.getStart());
  return `${relative(process.cwd(), file.fileName)}:${line + 1}`;
}
