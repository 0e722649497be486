import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["**/dist/", "**/gen/", "**/assembly/", "cli/bin/"] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: "error",
      // The formatter holds the code; this holds the comments. Sentences for users may be longer.
      "max-len": [
        "error",
        {
          code: 120,
          ignoreStrings: true,
          ignoreTemplateLiterals: true,
          ignoreRegExpLiterals: true,
          ignoreUrls: true,
        },
      ],
      "no-restricted-exports": ["error", { restrictDefaultExports: { direct: true } }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // In tests, benchmarks and scripts what is missing ends the run there and then.
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
  {
    files: ["proto/**", "fhe/**", "server/**", "client/**", "face/**", "cli/**"],
    rules: {
      "max-lines-per-function": ["error", { max: 30, skipComments: true, skipBlankLines: true }],
      "max-lines": ["error", { max: 250, skipComments: true, skipBlankLines: true }],
      "max-params": ["error", 3],
      // Typed arrays are read inside their bounds; the files of such loops say so at their head.
      "@typescript-eslint/no-non-null-assertion": "error",
      // So that what a public signature mentions stands in it: scripts/docstrings reads it there.
      "@typescript-eslint/explicit-module-boundary-types": "error",
    },
  },
  {
    files: ["test/**", "bench/**"],
    rules: {
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", package: "node:test", name: ["test", "it", "suite", "describe"] },
          ],
        },
      ],
    },
  },
  {
    files: ["eslint.config.js", "**/*.d.ts"],
    extends: [tseslint.configs.disableTypeChecked],
    rules: { "no-restricted-exports": "off" },
  },
);
