import type { Command } from "commander";
import type { DeletedTemplates } from "@veilface/client";
import { CliError } from "./errors.ts";
import { listed } from "./struck.ts";

/** What is named for deletion. */
export interface NamedFlags {
  subject?: string[];
  template?: string[];
}

export function addNamed(command: Command): Command {
  return command
    .option("--subject <ids...>", "delete all templates of these subjects")
    .option("--template <ids...>", "delete these templates");
}

/** `whole`: the command that deletes a whole gallery. Throws CliError USAGE where nothing is named. */
export function namedIds(
  { subject = [], template = [] }: NamedFlags,
  whole: string,
): { subjectIds: string[]; templateIds: string[] } {
  if (subject.length + template.length > 0) return { subjectIds: subject, templateIds: template };
  const advice = `give --subject or --template (${whole} deletes a whole gallery)`;
  throw new CliError("USAGE", `nothing named to delete: ${advice}`);
}

/** Lines that say how many templates are gone, and what of the named was not there. */
export function deletedText(
  galleryId: string,
  { deleted, notFound }: Pick<DeletedTemplates, "deleted" | "notFound">,
): string[] {
  const gone = deleted === 0 ? "nothing deleted" : `${deleted} template${deleted === 1 ? "" : "s"} deleted`;
  const missing = [
    ...notFound.subjectIds.map((id) => `subject ${id}`),
    ...notFound.templateIds.map((id) => `template ${id}`),
  ];
  return [gone, ...listed(`not in ${galleryId}: `, missing)];
}
