/** How the generated client reaches the store: same origin, and failures as {@link Problem}. */
import type { CreateClientConfig } from "@/api/client.gen";

export const createClientConfig: CreateClientConfig = (config) => ({
  ...config,
  baseUrl: location.origin,
  throwOnError: true,
});
