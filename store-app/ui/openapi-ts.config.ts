// How `src/api` is made from `openapi.json`, which `store-app openapi` prints. Nothing in `src/api` is edited by hand.
import { defineConfig } from "@hey-api/openapi-ts";

export default defineConfig({
  input: process.env.API_IN ?? "./openapi.json",
  output: { path: process.env.API_OUT ?? "./src/api" },
  plugins: [
    { name: "@hey-api/client-fetch", runtimeConfigPath: "../lib/client" },
    "@hey-api/typescript",
    "@hey-api/sdk",
    { name: "@tanstack/react-query", queryOptions: true },
  ],
});
