import { MAX_DELETED_PER_CALL, definedOnly } from "@veilface/proto";
import type { DeleteTemplatesRequest } from "@veilface/proto";
import { fieldInvalid } from "../errors.ts";
import type { Deletion } from "../store/gallery-store.ts";
import { resourceId } from "./from-wire.ts";
import { readAll } from "./read-all.ts";

/** The deletion that was asked for, and where. Throws ServerError FIELD_INVALID. */
export function askedDeletion(request: DeleteTemplatesRequest): { galleryId: string; deletion: Deletion } {
  return readAll({
    galleryId: () => resourceId("gallery_id", request.galleryId),
    deletion: () => deletionOf(request),
  });
}

function deletionOf({ templateIds, subjectIds, maxTemplates }: DeleteTemplatesRequest): Deletion {
  const deletion = readAll({
    templateIds: () => ids("template_ids", templateIds),
    subjectIds: () => ids("subject_ids", subjectIds),
    most: () => mostDeleted("max_templates", maxTemplates),
  });
  return definedOnly(deletion);
}

function mostDeleted(field: string, value: number): number | undefined {
  if (value < 0 || value > MAX_DELETED_PER_CALL)
    throw fieldInvalid(field, `must be in [1, ${MAX_DELETED_PER_CALL}], or 0 for all`);
  return value === 0 ? undefined : value;
}

function ids(field: string, values: readonly string[]): string[] {
  if (values.length > MAX_DELETED_PER_CALL)
    throw fieldInvalid(field, `has ${values.length} ids: send at most ${MAX_DELETED_PER_CALL} in one call`);
  return values.map((value) => resourceId(field, value));
}
