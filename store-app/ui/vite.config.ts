// How the front end is built and, while it is worked on, served.
import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** The store whose data is shown while the front end is worked on. */
const store = process.env.STORE_URL ?? "http://127.0.0.1:8000";
const port = process.env.STORE_UI_PORT;

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: {
    alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) },
  },
  // The program embeds what is there when it is built.
  build: { outDir: "../dist/ui", emptyOutDir: true },
  server: {
    host: "127.0.0.1",
    port: port ? Number(port) : 5173,
    strictPort: port !== undefined,
    proxy: { "/api": store, "/plain": store },
  },
  test: {
    include: ["src/**/*.test.{ts,tsx}"],
    environment: "jsdom",
    restoreMocks: true,
    testTimeout: 30_000,
    // Failures that a test makes on purpose are told by React, too.
    silent: "passed-only",
  },
});
