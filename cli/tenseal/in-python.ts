/** How to read a result. A context with its secret key is a file of the user's, whose name is not known here. */
export function readingInPython(path: string, base64: boolean): string[] {
  const read = (file: string): string =>
    base64
      ? `base64.b64decode(open(${JSON.stringify(file)}, "rb").read())`
      : `open(${JSON.stringify(file)}, "rb").read()`;
  return [
    "In Python:",
    `  import ${base64 ? "base64, " : ""}tenseal as ts`,
    `  context = ts.context_from(${read(base64 ? "secret.txt" : "secret.bin")})`,
    `  distance = ts.lazy_ckks_vector_from(${read(path)})`,
    "  distance.link_context(context)",
    "  print(distance.decrypt()[0])",
  ];
}
