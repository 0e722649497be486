import ts from "typescript";

/** A name that a package gives to those who import it, or a member of one. */
export interface PublicName {
  /** With the names it is a member of, such as "GalleryInfo.uid". */
  readonly name: string;
  readonly declaration: ts.Declaration;
}

/** What the entries of one package give. */
export interface PublicNames {
  /** Those written by hand: neither generated code's nor other packages'. */
  readonly names: readonly PublicName[];
  /** Every name that can be imported, behind its aliases. */
  readonly symbols: ReadonlySet<ts.Symbol>;
}

/** The names that the entries (paths of modules of the program) export, each with its public members. */
export function publicNames(program: ts.Program, entries: readonly string[]): PublicNames {
  const checker = program.getTypeChecker();
  const symbols = new Set(entries.flatMap((entry) => exportsOf(checker, program.getSourceFile(entry))));
  const declarations = [...symbols].flatMap(({ declarations = [] }) => declarations).filter(isHandwritten);
  const names = declarations.flatMap((declaration) => withMembers(declaration));
  return { names: names.map((declaration) => ({ name: qualifiedName(declaration), declaration })), symbols };
}

/** Whether a declaration is of this repository and was written by hand. */
export function isHandwritten(node: ts.Node): boolean {
  return isOurs(node) && !node.getSourceFile().fileName.includes("/gen/");
}

/** Whether a declaration is of this repository. */
export function isOurs(node: ts.Node): boolean {
  return !node.getSourceFile().fileName.includes("/node_modules/");
}

/** The symbol that an imported or exported name stands for. */
export function behindAliases(checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** Calls `visit` for a declaration and what is public inside it: no bodies, values or private members. */
export function visitSurface(node: ts.Node, visit: (node: ts.Node) => void): void {
  if (isHidden(node)) return;
  visit(node);
  ts.forEachChild(node, (child) => {
    visitSurface(child, visit);
  });
}

function exportsOf(checker: ts.TypeChecker, file: ts.SourceFile | undefined): ts.Symbol[] {
  const module = file && checker.getSymbolAtLocation(file);
  if (module === undefined) throw new Error(`${file?.fileName ?? "an entry"} is no module of the program`);
  return checker.getExportsOfModule(module).map((symbol) => behindAliases(checker, symbol));
}

function withMembers(declaration: ts.Declaration): ts.Declaration[] {
  const found = [declaration];
  visitSurface(declaration, (node) => {
    if (isMember(node)) found.push(node);
  });
  return found;
}

function isMember(node: ts.Node): node is ts.ClassElement | ts.TypeElement | ts.EnumMember {
  // What a function takes in one parameter's braces is its own docstring's to say.
  const isOfParameter = ts.isTypeElement(node) && ts.findAncestor(node, ts.isParameter) !== undefined;
  return !isOfParameter && (ts.isClassElement(node) || ts.isTypeElement(node) || ts.isEnumMember(node));
}

function isHidden(node: ts.Node): boolean {
  if (ts.isBlock(node) || ts.isClassStaticBlockDeclaration(node) || ts.isSemicolonClassElement(node)) return true;
  if (ts.isClassElement(node)) return isPrivate(node);
  const isSignature =
    ts.isFunctionExpression(node) || ts.isArrowFunction(node) || ts.isExpressionWithTypeArguments(node);
  return ts.isExpression(node) && !isSignature;
}

function isPrivate(node: ts.ClassElement): boolean {
  const isHard = node.name !== undefined && ts.isPrivateIdentifier(node.name);
  return isHard || (ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Private) !== 0;
}

function qualifiedName(node: ts.Declaration): string {
  const names: string[] = [];
  for (let at: ts.Node = node; !ts.isSourceFile(at); at = at.parent) {
    const name = ts.isConstructorDeclaration(at)
      ? "constructor"
      : ts.getNameOfDeclaration(at as ts.Declaration)?.getText();
    if (name !== undefined) names.unshift(name);
  }
  return names.join(".") || "an unnamed member";
}
