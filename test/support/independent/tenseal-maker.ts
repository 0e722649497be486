// The maker that tests share with the benchmarks; here what it makes is watched for in logs.
import { watchSecrets } from "../../../scripts/dev/tenseal-maker.ts";
import { watchBytes } from "../leak-watch.ts";

export * from "../../../scripts/dev/tenseal-maker.ts";

watchSecrets(watchBytes);
