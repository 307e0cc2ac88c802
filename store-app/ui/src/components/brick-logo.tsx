/** Seven bricks in a bond, the colour of whatever they stand in. */
export function BrickLogo({ className }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 24" className={className} fill="currentColor" aria-hidden="true">
      <rect width="15" height="7" rx="1" />
      <rect x="17" width="15" height="7" rx="1" />
      <rect y="8.5" width="6.5" height="7" rx="1" />
      <rect x="8.5" y="8.5" width="15" height="7" rx="1" />
      <rect x="25.5" y="8.5" width="6.5" height="7" rx="1" />
      <rect y="17" width="15" height="7" rx="1" />
      <rect x="17" y="17" width="15" height="7" rx="1" />
    </svg>
  );
}
