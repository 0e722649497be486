import ts from "typescript";

const ONE_LINE = /^\/\*\* \S.* \*\/$/u;
const MORE_LINES = /^\/\*\*\n(?: *\*(?: .*)?\n)+ *\*\/$/u;
/** No plain word in small letters, but a capital, a sign, or what has its own spelling: log2, psi^-1, dlib's. */
const BEGINNING = /^(?:\P{Ll}|\S*[^\p{Ll},.\s])/u;
const END = /[.:!?…]$/u;
const WORDS = /\p{Lu}?[\p{Ll}\d]+|\p{Lu}+/gu;
const FILLERS = "a an and all for in is it its of or that the them this to";

/** The docstrings of a declaration: those before it, but none of what it inherits. */
export function docstringsOf(node: ts.Node): ts.JSDoc[] {
  return ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc);
}

/** Every docstring of a file, in its order. */
export function docstringsIn(file: ts.SourceFile): ts.JSDoc[] {
  const found = new Map<number, ts.JSDoc>();
  const visit = (node: ts.Node): void => {
    for (const docstring of docstringsOf(node)) found.set(docstring.pos, docstring);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return [...found.values()];
}

/**
 * What makes a docstring another dialect than ours, which is sentences, with links for names and no other tags;
 * undefined where nothing does.
 */
export function dialectProblem(docstring: ts.JSDoc): string | undefined {
  const source = docstring.getText();
  const text = textOf(docstring);
  const [tag] = docstring.tags ?? [];
  if (tag !== undefined) return `has the tag @${tag.tagName.text}: say it in a sentence`;
  if (!ONE_LINE.test(source) && !MORE_LINES.test(source))
    return "is neither /** on one line */ nor between signs on lines of their own";
  if (!BEGINNING.test(text)) return "does not begin as a sentence does";
  return END.test(text) ? undefined : "does not end as a sentence does";
}

/** Whether docstrings say no more than the name that they stand at: no words but its own, and fillers. */
export function isRestatement(name: string, docstrings: readonly ts.JSDoc[]): boolean {
  const known = new Set(wordsOf(`${name} ${FILLERS}`));
  return docstrings.every((docstring) => wordsOf(textOf(docstring)).every((word) => known.has(word)));
}

/** The links of a docstring to what does not exist, as they are written. */
export function brokenLinks(checker: ts.TypeChecker, { comment }: ts.JSDoc): string[] {
  const parts: readonly ts.JSDocComment[] = typeof comment === "string" ? [] : (comment ?? []);
  const links = parts.filter((part) => ts.isJSDocLink(part));
  return links.filter(({ name }) => name && !checker.getSymbolAtLocation(name)).map((link) => link.getText());
}

function textOf({ comment }: ts.JSDoc): string {
  return ts.getTextOfJSDocComment(comment) ?? "";
}

function wordsOf(text: string): string[] {
  return (text.match(WORDS) ?? []).map((word) => word.toLowerCase().replace(/s$/, ""));
}
