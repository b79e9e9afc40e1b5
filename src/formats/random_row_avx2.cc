#include "formats/random_row_impl.h"

namespace octet {

const FillRandomRow kFillRandomRowAvx2 = fill_row;

}  // namespace octet
