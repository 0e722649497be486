// What is used of the AssemblyScript compiler. Its own declarations bring AssemblyScript's global types into the whole
// program, where they contradict JavaScript's (Array.prototype.at is never undefined there).
interface CompilerHost {
  readonly stderr?: NodeJS.WritableStream;
  readonly writeFile?: (name: string, contents: Uint8Array | string, baseDir: string) => void;
}

declare const asc: {
  main(argv: readonly string[], host?: CompilerHost): Promise<{ readonly error: Error | null }>;
  compileString(
    source: string,
    options: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly binary: Uint8Array | null }>;
};
export default asc;
