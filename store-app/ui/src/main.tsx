import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./index.css";
import { installProblems } from "./lib/problem";
import { makeQueryClient } from "./lib/query-client";
import { makeRouter } from "./router";

installProblems();
const queryClient = makeQueryClient();
const router = makeRouter(queryClient);

const place = document.getElementById("root");
if (!place) throw new Error("the page has no place for the shop");
createRoot(place).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
