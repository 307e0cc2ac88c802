"""Orders, and where to write to a customer."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade():
    op.add_column("customers", sa.Column("email", sa.Text))
    op.create_table("orders", sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
                    sa.Column("customer", sa.BigInteger, sa.ForeignKey("customers.id"), nullable=False),
                    sa.Column("placed", sa.DateTime(timezone=True), server_default=sa.func.now()))
    op.create_index("orders_customer", "orders", ["customer"])


def downgrade():
    op.drop_table("orders")
    op.drop_column("customers", "email")
