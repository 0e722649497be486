import { CliError } from "./errors.ts";

const YES = ["true", "1", "yes", "on"];
const NO = ["false", "0", "no", "off"];

/** The value of an environment variable; undefined where it is not set, or empty, which means the same. */
export function environmentVariable(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

/**
 * An environment variable that switches something: true, 1, yes or on, or false, 0, no or off, in either case;
 * undefined where it is not set or empty. Throws CliError USAGE, naming the variable, for anything else.
 */
export function environmentSwitch(name: string): boolean | undefined {
  const word = environmentVariable(name)?.trim().toLowerCase();
  if (word === undefined || word === "") return undefined;
  if (YES.includes(word)) return true;
  if (NO.includes(word)) return false;
  throw new CliError("USAGE", `${name} is not understood: expected ${YES.join(", ")}, or ${NO.join(", ")}`);
}
