import { Link } from "@tanstack/react-router";
import { BranchBadge } from "./branch-badge";
import { BrickLogo } from "./brick-logo";

export function Header() {
  return (
    <header className="sticky top-0 z-40 border-b bg-stone-950/90 backdrop-blur-md">
      <div className="mx-auto flex max-w-6xl flex-wrap items-center gap-x-6 gap-y-2 px-4 py-3 sm:flex-nowrap sm:px-6">
        <Link to="/" className="flex shrink-0 items-center gap-3">
          <BrickLogo className="w-10 text-orange-500" />
          <span className="leading-tight">
            <span className="block bg-linear-to-r from-amber-400 to-orange-500 bg-clip-text text-xl font-bold text-transparent">
              Data &amp; Bricks
            </span>
            <span className="block text-sm tracking-wide text-stone-400 [font-variant-caps:all-small-caps]">
              fine data, finer bricks
            </span>
          </span>
        </Link>
        <nav aria-label="Shop" className="shrink-0">
          <Link
            to="/products"
            className="text-sm font-medium text-stone-300 hover:text-amber-300 data-[status=active]:text-amber-300"
          >
            All products
          </Link>
        </nav>
        <div className="min-w-0 sm:ml-auto">
          <BranchBadge />
        </div>
      </div>
    </header>
  );
}
