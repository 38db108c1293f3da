"""The tables. Their names begin with ``bench_``, for a PostgreSQL that holds other things too."""

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Category(Base):
    __tablename__ = "bench_categories"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Product(Base):
    __tablename__ = "bench_products"
    id: Mapped[int] = mapped_column(primary_key=True)
    category_id: Mapped[int] = mapped_column(ForeignKey("bench_categories.id"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(Text)
    price_cents: Mapped[int]
    stock: Mapped[int] = mapped_column(index=True)
    search_text: Mapped[str] = mapped_column(Text, deferred=True)
    """Name and description in lower case: what a search looks through."""
    category: Mapped[Category] = relationship()
    __table_args__ = (Index("bench_products_by_price", "category_id", "price_cents", "id"),)


class Review(Base):
    __tablename__ = "bench_reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("bench_products.id"), index=True)
    rating: Mapped[int]
    text: Mapped[str] = mapped_column(Text)


class User(Base):
    __tablename__ = "bench_users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    posts: Mapped[list["Post"]] = relationship(order_by="Post.id")


class Post(Base):
    __tablename__ = "bench_posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("bench_users.id"), index=True)
    title: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
