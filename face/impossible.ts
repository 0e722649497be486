/** For what cannot be by construction: a fault of this package. */
export function impossible(what: string): never {
  throw new Error(`a fault in the face package: ${what}; report it`);
}
