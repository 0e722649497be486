/** An object without the members that are undefined: those that may be are optional. */
export type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/**
 * Leaves out the members that are undefined, since an optional member may be missing but not undefined. It is here
 * because this package is below all others that are handed options.
 */
export function definedOnly<T extends object>(members: T): Defined<T>;
export function definedOnly(members: object): object {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
