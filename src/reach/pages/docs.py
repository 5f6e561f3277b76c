"""The page of the API: Swagger UI, from this server, under the policy of all pages."""

from fastapi import APIRouter, Request, Response

from reach.pages.render import render

READ = ["GET", "HEAD"]
#: It reads the document and tries calls here; its stylesheet holds its pictures.
RUNS = {"connect-src": "'self'", "img-src": "'self' data:"}

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=READ)
async def get_docs(request: Request) -> Response:
    """Show what the API can do, and let it be tried."""
    return render("docs.html", runs=RUNS, brand_name=request.app.state.settings.brand_name)
