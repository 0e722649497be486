// The tasks that worker threads run, by name.
export { matchBlocks, prepareBlock, prepareProbe, prepareTemplate, serializePieces } from "./packed/packed-worker.ts";
export { admitContext, compareVectors, compareWithTemplates, prepareVector } from "./pairwise/pairwise-worker.ts";

/** Nothing; it answers once the thread has loaded this module. */
export function ready(): undefined {
  return undefined;
}
