# cmake -DPAGE=page.html -DOUT=page_html.cc -P embed_page.cmake: the page as a C++ string.
file(READ "${PAGE}" html)
file(WRITE "${OUT}" "// Made from page.html when building.
#include \"server/page.h\"

namespace octet {
const std::string_view kPageHtml = R\"OCTET_PAGE(${html})OCTET_PAGE\";
}  // namespace octet
")
