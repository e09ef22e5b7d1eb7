// What is looked at beyond types: promises that nobody waits for, comparisons that convert, what is never used.

import tseslint from "typescript-eslint";

export default tseslint.config({
  files: ["src/**/*.ts"],
  extends: [...tseslint.configs.recommended],
  languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
  rules: {
    "@typescript-eslint/await-thenable": "error",
    "@typescript-eslint/no-floating-promises": "error",
    "@typescript-eslint/no-misused-promises": "error",
    "@typescript-eslint/no-non-null-assertion": "off", // the compiler is told of indices by noUncheckedIndexedAccess
    "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
    eqeqeq: "error",
    "no-eval": "error",
    "no-implied-eval": "error",
    "prefer-const": "error",
    // What a record says is text, never markup.
    "no-restricted-properties": ["error", { property: "innerHTML", message: "build elements with h()" }, { property: "outerHTML", message: "build elements with h()" }],
  },
});
